"""Measure what watching costs.

The compared commands take turns; medians of the rounds, and their ratios, are printed.

scripts/bench [ROUNDS]                what watching costs, beside strace and bpftrace
scripts/bench --quick [ROUNDS]        the most telling of all these, in two minutes
scripts/bench engines [ROUNDS]        libbpf and BCC, side by side
scripts/bench attribution [ROUNDS]    what attribution costs, level by level
scripts/bench drift [ROUNDS]          `drift` and `baseline` of a million records
scripts/bench each [ROUNDS]           the agent, for each connection, look-up, process
scripts/bench guard [ROUNDS]          the guard: a start, a connect, a look-up
scripts/bench scaling [ROUNDS]        long policies, many hosts, and the end of a run
scripts/bench sidecar [ROUNDS]        a sidecar: idle, busy, and what neighbours pay
scripts/bench start [ROUNDS]          how runs begin and end, beside another checkout

ROUNDS is how often each is measured (default: 7, and 5 with --quick). It takes minutes;
see docs/performance.md. EGRESSMON_AGAINST=FOLDER has another checkout take turns with
this one in --quick and each, and BESIDE=FOLDER in start.
"""

import importlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
EGRESSMON = [sys.executable, "-I", "-m", "egressmon", "watch", "--quiet"]
# Shell, in a watched command: the agent, the youngest child of the first egressmon.
AGENT = "AGENT=$(tr ' ' '\\n' </proc/$PPID/task/$PPID/children | tail -n 1)"
STRACE = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=network"]
STRACE += ["-o", "/dev/null"]
# Who connects, as one line each: a small part of what egressmon says.
BPFTRACE = """tracepoint:syscalls:sys_enter_connect / pid == cpid / {
    printf("%llu %d %s %d\\n", nsecs, pid, comm, args->fd);
}"""
# It looks for tracefs here, which is not mounted everywhere.
TRACEFS = """
[ -e /sys/kernel/debug/tracing/events ] ||
    { mount -t debugfs none /sys/kernel/debug &&
      mount -t tracefs none /sys/kernel/debug/tracing; }
exec bpftrace "$@"
"""
TCP_CONNECTS = 20_000
UDP_CONNECTS = 200_000
STRACED = 10  # strace is so slow that it gets this much less to do
RATES = (5_000, 10_000, 15_000, 20_000, 30_000, 40_000)
RATE_S = 5
COMPARISONS = ("engines", "attribution", "each", "guard", "scaling", "sidecar")
COMPARISONS += ("start", "drift", "--quick")
ROUNDS = "7"
QUICK_ROUNDS = "5"


def output(words: list[str]) -> float:
    """Run the command `words` and return the number that it prints last."""
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def seconds(words: list[str]) -> float:
    """Run the command `words` and return how long it takes, in seconds."""
    start = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - start


def alternate(
    ways: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Return the values that each way measures, by its name; the ways take turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def show(title: str, unit: str, scale: float, found: dict[str, list[float]]) -> None:
    """Print medians and extremes, and the ratios of medians and of minima.

    Noise only ever adds: where it is large, the ratio of the minima is the better.
    """
    first = next(iter(found.values()))
    base, least = statistics.median(first), min(first)
    print(f"\n{title}")
    for name, values in found.items():
        median = statistics.median(values)
        low, high = min(values) * scale, max(values) * scale
        print(
            f"  {name:<13} {median * scale:10.2f} {unit}  "
            f"({low:.2f} to {high:.2f})  {median / base:6.2f}x  "
            f"minima {min(values) / least:6.2f}x"
        )


def bpftraced(words: list[str]) -> list[str]:
    """Return the command that runs `words` under bpftrace."""
    trace = ["-q", "-e", BPFTRACE, "-o", "/dev/null", "-c", " ".join(words)]
    return ["unshare", "--mount", "sh", "-c", TRACEFS, "bpftrace", *trace]


class Bench:
    """The measurements; `folder` gets the compiled load.c and the evidence."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self._evidence = folder / "e.jsonl"
        self._facts = folder / "facts"
        self._rounds = rounds
        self._load = str(folder / "load")
        source = str(HERE / "load.c")
        subprocess.run(["gcc", "-O2", "-o", self._load, source], check=True)

    def _watched(self, *words: str) -> list[str]:
        return [*EGRESSMON, "--evidence", str(self._evidence), "--", *words]

    def start_up(self) -> None:
        """Measure how long a run of `true` takes, and how long until it is armed."""
        armed: list[float] = []

        def watched() -> float:
            taken = seconds(self._watched("true"))
            first = self._evidence.read_bytes().splitlines()[0]
            armed.append(json.loads(first)["armed_ms"] / 1000)
            return taken

        ways = {"true": lambda: seconds(["true"]), "watch": watched}
        show("start-up of `true`", "ms", 1000, alternate(ways, self._rounds * 2))
        low, high = min(armed) * 1000, max(armed) * 1000
        middle = statistics.median(armed) * 1000
        print(f"  armed after  {middle:10.2f} ms  ({low:.0f} to {high:.0f})")

    def loop(self, kind: str, count: int) -> None:
        """Measure a connect in a loop of `count`: unwatched, watched and straced."""
        plain = [self._load, kind, str(count)]
        ways = {
            "unwatched": lambda: output(plain),
            "watched": lambda: output(self._watched(*plain)),
            # With the agent stopped, to measure the probes alone.
            "probes alone": lambda: output(
                self._watched(
                    "sh",
                    "-c",
                    f"{AGENT}; kill -STOP $AGENT; {' '.join(plain)}; kill -CONT $AGENT",
                )
            ),
            "strace": lambda: output(
                [*STRACE, self._load, kind, str(count // STRACED)]
            ),
        }
        if shutil.which("bpftrace"):
            ways["bpftrace"] = lambda: output(bpftraced(plain))
        show(f"{kind} connect loop, each", "us", 0.001, alternate(ways, self._rounds))

    def rate(self) -> None:
        """Measure the agent's losses, CPU time and memory at some rates of connects."""
        print(f"\nsustained TCP connects for {RATE_S} s")
        for rate in RATES:
            script = (
                f"{self._load} rate {rate} {RATE_S}; "
                f"{AGENT}; cat /proc/$AGENT/stat /proc/$AGENT/status >{self._facts}"
            )
            words = self._watched("sh", "-c", script)
            words.insert(-4, "--allow-incomplete")
            made = output(words)
            end = json.loads(self._evidence.read_bytes().splitlines()[-1])
            lost = sum(end["losses"].values())
            print(f"  {made:8.0f}/s  lost {lost:6d}  {self._agent()}")

    def _agent(self) -> str:
        used_s, peak = self._used()
        return f"agent {used_s / RATE_S:5.0%} of a core, peak {peak:.0f} MB"

    # Returns the agent's CPU time in seconds, and its peak memory in MB.
    def _used(self) -> tuple[float, float]:
        text = self._facts.read_text()
        fields = text.splitlines()[0].rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        peak = next(line for line in text.splitlines() if line.startswith("VmHWM"))
        return ticks / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) / 1024

    # Compares loops of connects unwatched, and watched with each value of `option`.
    def _compare_loops(self, option: str, values: Sequence[str]) -> None:
        for kind, count in (("tcp", TCP_CONNECTS), ("udp", UDP_CONNECTS)):
            title = f"{kind} connect loop, each"
            self._compare(title, [self._load, kind, str(count)], option, values)

    def _compare(
        self, title: str, plain: list[str], option: str, values: Sequence[str]
    ) -> None:
        ways = {"unwatched": lambda: output(plain)}
        for value in values:
            words = [*EGRESSMON, option, value, "--evidence", str(self._evidence)]
            ways[value] = lambda words=words: output([*words, "--", *plain])
        found = alternate(ways, self._rounds)
        show(title, "us", 0.001, found)
        base = statistics.median(found["unwatched"])
        for value in values:
            added = statistics.median(found[value]) - base
            print(f"  {value} adds {added:.0f} ns")


def asked_for(words: Sequence[str]) -> tuple[str | None, int]:
    """Return which comparison is asked for (None: watched or not), and the rounds."""
    rest = list(words)
    what = rest.pop(0) if rest and rest[0] in COMPARISONS else None
    default = QUICK_ROUNDS if what == "--quick" else ROUNDS
    rounds = rest.pop(0) if rest else default
    if rest or re.fullmatch("0*[1-9][0-9]{0,4}", rounds) is None:
        print(
            f"error: not [{'|'.join(COMPARISONS)}] [ROUNDS]: {' '.join(words)!r} "
            "(scripts/bench --help)",
            file=sys.stderr,
        )
        sys.exit(2)
    return what, int(rounds)


def main() -> None:
    """Run all measurements and print them."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__, end="")
        return
    what, rounds = asked_for(sys.argv[1:])
    folder = Path(tempfile.mkdtemp(prefix="egressmon-bench-"))
    print(
        f"kernel {platform.release()}, {os.cpu_count()} CPUs, {rounds} rounds, medians"
    )
    try:
        if what is not None:
            # Imported late, as both import this module.
            importlib.import_module(what.removeprefix("--")).compare(folder, rounds)
            return
        bench = Bench(folder, rounds)
        bench.start_up()
        bench.loop("tcp", TCP_CONNECTS)
        bench.loop("udp", UDP_CONNECTS)
        bench.rate()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
