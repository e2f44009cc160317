"""Compare how runs begin and end: bench.py start [ROUNDS].

A command that does nothing but write the time: how long until it ran, how long the run
went on after it, and what all of it cost. With BESIDE, the folder of another checkout,
that takes turns with this one: BESIDE=../before scripts/bench start 15
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

LEVELS = ("full", "process")
SOURCE = """
#include <stdio.h>
#include <time.h>
int main(int count, char **words)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    FILE *file = fopen(words[count - 1], "w");
    return fprintf(file, "%lld", now.tv_sec * 1000000000LL + now.tv_nsec) < 0;
}
"""


class Costs(NamedTuple):
    """What one run took: milliseconds, and megabytes."""

    armed: float
    """From its start until its command ran."""
    end: float
    """From there to its end."""
    whole: float
    cpu: float
    """Processor time of all of egressmon's processes, user and system."""
    memory: float
    """Peak of the process that uses most of it."""


def run(words: Sequence[str], note: Path) -> Costs:
    """Run `words`, whose command writes into `note` when it ran."""
    began = time.monotonic_ns()
    pid = os.posix_spawn(words[0], words, os.environ)
    _, status, used = os.wait4(pid, 0)
    ended = time.monotonic_ns()
    if status:
        raise SystemExit(f"error: {words} ended with wait status {status}")
    ran = int(note.read_text())
    cpu = (used.ru_utime + used.ru_stime) * 1000
    times = (ran - began, ended - ran, ended - began)
    return Costs(*(one / 1e6 for one in times), cpu, used.ru_maxrss / 1024)


def compiled(folder: Path) -> str:
    """Compile the program that notes when it ran; returns its path."""
    program = str(folder / "note")
    compiler = ["gcc", "-O2", "-static", "-x", "c", "-", "-o", program]
    subprocess.run(compiler, input=SOURCE, check=True, text=True)
    return program


def ways(folder: Path) -> dict[str, list[str]]:
    """Return the commands to compare, by name."""
    program = compiled(folder)
    found: dict[str, list[str]] = {}
    for level in LEVELS:
        pythons = {"": sys.executable}
        if beside := os.environ.get("BESIDE"):
            pythons = {"beside, ": f"{beside}/.venv/bin/python", **pythons}
        for name, python in pythons.items():
            words = [python, "-I", "-m", "egressmon", "watch", "--quiet"]
            words += ["--attribution", level, "--evidence", str(folder / "e.jsonl")]
            found[name + level] = [*words, "--", program, str(folder / "ran")]
    return found


def compare(folder: Path, rounds: int) -> None:
    """Measure and print; the first round only warms up."""
    commands = ways(folder)
    found: dict[str, list[Costs]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, words in commands.items():
            costs = run(words, folder / "ran")
            if number:
                found[name].append(costs)
    print("\nstart and end of a run, ms: least, median, most")
    for name, several in found.items():
        print(f"  {name}")
        for number, field in enumerate(Costs._fields):
            values = [one[number] for one in several]
            unit = "MB" if field == "memory" else "ms"
            print(
                f"    {field:<8}{min(values):7.1f} {statistics.median(values):7.1f} "
                f"{max(values):7.1f} {unit}"
            )
