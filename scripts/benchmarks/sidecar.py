"""Measure a sidecar: its processor time and memory, and what its neighbours pay.

bench.py sidecar [ROUNDS]

Under `--all`: an idle machine, short processes, and connections at a rate. Then loops
of a neighbour: without a sidecar, with one that watches another cgroup, and with one
that watches the machine; they take turns.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import Bench, alternate, output, show

from egressmon.sensor.scope import find_root

SIDECAR = [sys.executable, "-I", "-m", "egressmon", "sidecar"]
IDLE_S = 30
LOADS = {
    "1,000 short processes a second": ("spawns 1000 10", 10_000),
    "2,000 short processes, at once": ("spawn 2000", 2_000),
    "10,000 connects a second": ("rate 10000 5", 50_000),
}
LOOPS = {
    "TCP connect": ("tcp 20000", "us", 0.001),
    "UDP packet": ("send 200000", "us", 0.001),
    "short process": ("spawn 2000", "us", 0.001),
}
SETTLED_S = 0.5


class Usage(NamedTuple):
    """Of all processes of a sidecar: processor time in seconds, memory in MB."""

    used_s: float
    memory_mb: float


class Running:
    """A sidecar that runs."""

    def __init__(self, folder: Path, *which: str) -> None:
        """Start one that watches `which`; its folders are in `folder`."""
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

    @staticmethod
    def _ask(*words: str) -> str:
        done = subprocess.run(
            [*SIDECAR, *words], check=False, capture_output=True, text=True
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
def running(*which: str) -> Generator[Running]:
    """Yield a sidecar that watches `which`; it may be stopped before the end."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-bench-", dir="/run"))
    folder.chmod(0o755)
    try:
        one = Running(folder, *which)
        try:
            yield one
        finally:
            one.stop()
    finally:
        shutil.rmtree(folder)


class Sidecar(Bench):
    """The measurements of a sidecar."""

    def idle(self) -> None:
        """Measure what it uses while the machine does nothing of note."""
        with running("--all") as one:
            before = one.usage()
            time.sleep(IDLE_S)
            after = one.usage()
        share = (after.used_s - before.used_s) / IDLE_S
        print(f"\nidle for {IDLE_S} s: {share:.2%} of a core, {after.memory_mb:.0f} MB")

    def busy(self, title: str, load: str, count: int, rounds: int) -> None:
        """Measure what it uses for each of `count` things that `load` does."""
        costs: list[float] = []
        memory: list[float] = []
        lost = 0
        for _ in range(rounds):
            with running("--all") as one:
                before = one.usage()
                subprocess.run(
                    [self._load, *load.split()], check=True, capture_output=True
                )
                after = one.usage()
                costs.append((after.used_s - before.used_s) / count * 1e6)
                memory.append(after.memory_mb)
                one.stop()
                lost += one.lost()
        print(
            f"\n{title}: {statistics.median(costs):.0f} us each "
            f"(least {min(costs):.0f}), {max(memory):.0f} MB at most, lost {lost}",
            flush=True,
        )

    def neighbour(self, title: str, load: str, unit: str, scale: float) -> None:
        """Measure a loop without a sidecar, outside its scope and inside."""
        words = [self._load, *load.split()]
        other = find_root() / f"bench-{os.getpid()}"

        def under(*which: str) -> float:
            with running(*which):
                return output(words)

        other.mkdir()
        try:
            ways = {
                "no sidecar": lambda: output(words),
                "outside": lambda: under("--cgroup", str(other)),
                "inside": lambda: under("--all"),
            }
            show(f"{title} loop, each", unit, scale, alternate(ways, self._rounds))
        finally:
            other.rmdir()


def compare(folder: Path, rounds: int) -> None:
    """Print all of it."""
    bench = Sidecar(folder, rounds)
    bench.idle()
    for title, (load, count) in LOADS.items():
        bench.busy(title, load, count, rounds)
    for title, (load, unit, scale) in LOOPS.items():
        bench.neighbour(title, load, unit, scale)
