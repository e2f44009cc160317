"""Measure a sidecar: its processor time and memory, and what its neighbours pay.

bench.py sidecar [ROUNDS]

Under `--all`: an idle machine, short processes, and connections at a rate. Then loops
of a neighbour: without a sidecar, with one that watches another cgroup, and with one
that watches the machine; they take turns. With EGRESSMON_AGAINST=FOLDER, another
checkout takes turns with this one in all but the idle machine.

With OWN_CGROUP=1, only what the sidecar uses, and it watches a cgroup in which the load
runs: on a machine on which others work, their processes do not count.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench import Bench, alternate, output, show

from egressmon.sensor.scope import find_root

HERE = Path(__file__).parents[2]
OWN_CGROUP = bool(os.environ.get("OWN_CGROUP"))
IDLE_S = 30
LOADS = {
    "300 short processes a second": ("spawns 300 10", 3_000),
    "1,000 short processes a second": ("spawns 1000 10", 10_000),
    "2,000 short processes, at once": ("spawn 2000", 2_000),
    "10,000 connects a second": ("rate 10000 5", 50_000),
}
LOOPS = {
    "TCP connect": ("tcp 20000", "us", 0.001),
    "UDP packet": ("send 200000", "us", 0.001),
    "short process": ("spawn 2000", "us", 0.001),
    "fork and exit": ("fork 4000", "us", 0.001),
    "system call": ("call 1000000", "us", 0.001),
}
SETTLED_S = 0.5


class Usage(NamedTuple):
    """Of all processes of a sidecar: processor time in seconds, memory in MB."""

    used_s: float
    memory_mb: float


class Running:
    """A sidecar that runs."""

    def __init__(self, root: Path, folder: Path, *which: str) -> None:
        """Start that of `root`, watching `which`; its folders are in `folder`."""
        python = f"{root}/.venv/bin/python"
        self._words = [python, "-I", "-m", "egressmon", "sidecar"]
        self._runtime = ["--runtime", str(folder / "run")]
        self._token = ["--token-file", str(folder / "token")]
        evidence = ["--evidence", str(folder / "evidence")]
        options = [*self._runtime, *self._token, *evidence, "--detach", "--json"]
        told = self._ask(*which, *options)
        self._is_stopped = False
        self._pid = int(json.loads(told)["pid"])
        self._evidence = Path(json.loads(told)["evidence"])

    def usage(self) -> Usage:
        """Return what it has used until now, once it has nothing left to do."""
        before, now = -1.0, self._usage()
        while now.used_s != before:
            time.sleep(SETTLED_S)
            before, now = now.used_s, self._usage()
        return now

    def stop(self) -> None:
        """Conclude its run, if nobody has yet."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._ask("stop", *self._runtime, *self._token, "--json")

    def lost(self) -> int:
        """Return how many events were lost by the last heartbeat or the end."""
        last = max(self._evidence.glob("*-*.jsonl")).read_bytes().splitlines()
        told = [one for line in last if "losses" in (one := json.loads(line))]
        return sum(told[-1]["losses"].values())

    def _usage(self) -> Usage:
        used, memory = 0.0, 0
        for pid in (self._pid, *_children(self._pid)):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                memory += int(line.split()[1]) if line.startswith("Pss:") else 0
        return Usage(used, memory / 1024)

    def _ask(self, *words: str) -> str:
        done = subprocess.run(
            [*self._words, *words], check=False, capture_output=True, text=True
        )
        if not done.stdout:
            raise SystemExit(done.stderr)
        return done.stdout


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [
        one for child in map(int, text.split()) for one in (child, *_children(child))
    ]


@contextmanager
def running(root: Path, *which: str) -> Generator[Running]:
    """Yield one of `root` that watches `which`; it may be stopped before the end."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-bench-", dir="/run"))
    folder.chmod(0o755)
    try:
        one = Running(root, folder, *which)
        try:
            yield one
        finally:
            one.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def cgroup() -> Generator[Path | None]:
    """Yield a new cgroup if the load is to have one; None: it is the machine's."""
    if not OWN_CGROUP:
        yield None
        return
    own = find_root() / f"bench-{os.getpid()}"
    own.mkdir()
    try:
        yield own
    finally:
        _remove(own)


# The last of its processes, or the sidecar's own below it, may be going still.
def _remove(own: Path) -> None:
    for _ in range(50):
        try:
            own.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return


def which_of(own: Path | None) -> tuple[str, ...]:
    """Return the options by which a sidecar watches `own`, or the machine."""
    return ("--all",) if own is None else ("--cgroup", str(own))


def words_in(own: Path | None, words: list[str]) -> list[str]:
    """Return `words` as a command that runs in the cgroup `own`."""
    if own is None:
        return words
    return ["sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', str(own), *words]


class Once(NamedTuple):
    """What one run used: seconds of processor time, MB at its end, and its losses."""

    used_s: float
    memory_mb: float
    lost: int


class Sidecar(Bench):
    """The measurements of a sidecar."""

    def __init__(self, folder: Path, rounds: int) -> None:
        super().__init__(folder, rounds)
        # As those of most programs: where only the owner may look, the keeper is asked.
        folder.chmod(0o755)
        self._roots = {"now": HERE}
        if other := os.environ.get("EGRESSMON_AGAINST"):
            self._roots = {"before": Path(other), **self._roots}

    def idle(self) -> None:
        """Measure what it uses while the machine does nothing of note."""
        with running(HERE, "--all") as one:
            before = one.usage()
            time.sleep(IDLE_S)
            after = one.usage()
        share = (after.used_s - before.used_s) / IDLE_S
        print(f"\nidle for {IDLE_S} s: {share:.2%} of a core, {after.memory_mb:.0f} MB")

    def busy(self, title: str, load: str, count: int, rounds: int) -> None:
        """Measure what it uses for each of `count` things that `load` does."""
        print(f"\n{title}", flush=True)
        runs: dict[str, list[Once]] = {name: [] for name in self._roots}
        for _ in range(rounds):
            for name, root in self._roots.items():
                runs[name].append(self._once(root, load))
        for name, found in runs.items():
            costs = [one.used_s / count * 1e6 for one in found]
            print(
                f"  {name:<7} {statistics.median(costs):.0f} us each "
                f"(least {min(costs):.0f}), {max(one.memory_mb for one in found):.0f} "
                f"MB at most, lost {sum(one.lost for one in found)}",
                flush=True,
            )

    def _once(self, root: Path, load: str) -> "Once":
        words = [self._load, *load.split()]
        with cgroup() as own, running(root, *which_of(own)) as one:
            before = one.usage()
            subprocess.run(words_in(own, words), check=True, capture_output=True)
            after = one.usage()
            one.stop()
            return Once(after.used_s - before.used_s, after.memory_mb, one.lost())

    def neighbour(self, title: str, load: str, unit: str, scale: float) -> None:
        """Measure a loop without a sidecar, outside its scope and inside."""
        words = [self._load, *load.split()]
        other = find_root() / f"bench-{os.getpid()}"

        def under(root: Path, *which: str) -> float:
            with running(root, *which):
                return output(words)

        other.mkdir()
        try:
            ways = {"no sidecar": lambda: output(words)}
            for name, root in self._roots.items():
                outside = partial(under, root, "--cgroup", str(other))
                ways |= {f"outside, {name}": outside}
                ways |= {f"inside, {name}": partial(under, root, "--all")}
            show(f"{title} loop, each", unit, scale, alternate(ways, self._rounds))
        finally:
            other.rmdir()


def compare(folder: Path, rounds: int) -> None:
    """Print all of it."""
    bench = Sidecar(folder, rounds)
    if not OWN_CGROUP:
        bench.idle()
    for title, (load, count) in LOADS.items():
        bench.busy(title, load, count, rounds)
    if OWN_CGROUP:
        return
    for title, (load, unit, scale) in LOOPS.items():
        bench.neighbour(title, load, unit, scale)
