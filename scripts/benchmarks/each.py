"""Measure what the agent does for each connection, look-up and short process.

bench.py each [ROUNDS]

Its processor time and the keeper's, from the load's start until the agent has nothing
left to read; and how long a run goes on after its last connection. With
EGRESSMON_AGAINST=FOLDER, another checkout takes turns with this one.
"""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from bench import AGENT, Bench
from lookups import Lookups

LEVELS = ("full", "process")
LOOKUPS = (4_000, 12_000)  # a second, and in all
LOADS = {
    "connects, 20,000 a second": ("rate 20000 3", 60_000),
    "processes": ("spawn 2000", 2_000),
    f"look-ups, {LOOKUPS[0]} a second": ("", LOOKUPS[1]),
}
CONNECTS = "tcp 50000"
FACTS = "cat /proc/$AGENT/stat /proc/$PPID/stat /proc/$AGENT/status"
USED = "cut -d ' ' -f 14,15 /proc/$AGENT/stat"
# Until the agent has used no processor time for a while.
SETTLE = f'while A=$({USED}); sleep 0.3; [ "$A" != "$({USED})" ]; do :; done'


class Once(NamedTuple):
    """One run: processor time in seconds, peak memory in megabytes, and losses."""

    used_s: float
    peak_mb: float
    lost: int


class Each(Bench):
    """The measurements of `Bench`, for each of what happens."""

    def __init__(self, folder: Path, rounds: int) -> None:
        super().__init__(folder, rounds)
        self._lookups = Lookups(folder)

    def once(self, root: Path, level: str, load: str) -> Once:
        """Run `load` watched by the checkout at `root`; "" makes look-ups."""
        words = self._lookups.ask(*LOOKUPS) if not load else [self._load, load]
        before, after = self._facts.with_suffix(".0"), self._facts
        script = (
            f"{AGENT}; {FACTS} >{before}; {' '.join(words)}; {SETTLE}; {FACTS} >{after}"
        )
        self._watch(root, level, script, in_network=not load)
        lines = after.read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM"))
        end = json.loads(self._evidence.read_bytes().splitlines()[-1])
        return Once(
            used(after) - used(before),
            int(peak.split()[1]) / 1024,
            sum(end["losses"].values()),
        )

    def left(self, root: Path) -> float:
        """Return how long a run goes on after 50,000 connections, in seconds."""
        script = f"{self._load} {CONNECTS}; date +%s.%N >{self._facts}"
        self._watch(root, "full", script)
        return time.time() - float(self._facts.read_text())

    def _watch(
        self, root: Path, level: str, script: str, *, in_network: bool = False
    ) -> None:
        words = [f"{root}/.venv/bin/python", "-I", "-m", "egressmon", "watch"]
        words += ["--quiet", "--allow-incomplete", "--attribution", level]
        words += ["--evidence", str(self._evidence)]
        if in_network:
            words += ["--policy", str(self._lookups.policy)]
        words += ["--", "sh", "-c", script]
        if in_network:
            words = self._lookups.network(words)
        subprocess.run(words, check=True, capture_output=True)


def used(facts: Path) -> float:
    """Return the processor time of agent and keeper by then, in seconds."""
    stats = [line.rpartition(")")[2].split() for line in facts.read_text().splitlines()]
    ticks = sum(int(words[11]) + int(words[12]) for words in stats[:2])
    return ticks / os.sysconf("SC_CLK_TCK")


def compare(folder: Path, rounds: int) -> None:
    """Print what each costs at two levels of attribution."""
    bench = Each(folder, rounds)
    roots = {"now": Path(__file__).parents[2]}
    if other := os.environ.get("EGRESSMON_AGAINST"):
        roots = {"before": Path(other), **roots}
    for level in LEVELS:
        for title, (load, count) in LOADS.items():
            print(f"\n{title}, `{level}`", flush=True)
            found: dict[str, list[Once]] = {name: [] for name in roots}
            for _ in range(rounds):
                for name, root in roots.items():
                    found[name].append(bench.once(root, level, load))
            for name, runs in found.items():
                show(name, runs, count)
    print("\nfrom the last of 50,000 connections to the end of the run", flush=True)
    for name, root in roots.items():
        ends = [bench.left(root) for _ in range(rounds)]
        print(f"  {name:<7} {statistics.median(ends):.2f} s (least {min(ends):.2f})")


def show(name: str, runs: list[Once], count: int) -> None:
    """Print the median and the least of `runs`, in which `count` things happened."""
    costs = sorted(one.used_s / count * 1e6 for one in runs)
    print(
        f"  {name:<7} {statistics.median(costs):7.1f} us each (least {costs[0]:.1f}); "
        f"peak {max(one.peak_mb for one in runs):.0f} MB; "
        f"lost {[one.lost for one in runs]}",
        flush=True,
    )
