"""Compare the two engines: bench.py engines [ROUNDS]."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import AGENT, EGRESSMON, Bench, alternate, output, show

ENGINES = ("libbpf", "bcc")
# Debian packages that each engine needs beside the wheel, as patterns of dpkg-query.
NEEDS = {
    "libbpf": ("libbpf1", "libbpf0", "libelf1", "libelf1t64"),
    "bcc": (
        *("python3-bpfcc", "libbpfcc", "libllvm[0-9]*", "libclang-cpp[0-9]*"),
        *("libelf1", "libelf1t64", "linux-headers-*", "linux-kbuild-*"),
    ),
}


class Comparison(Bench):
    """The measurements of `Bench`, for each engine."""

    def _by(self, engine: str, *words: str) -> list[str]:
        options = ["--engine", engine, "--evidence", str(self._evidence)]
        return [*EGRESSMON, *options, "--", *words]

    def armed(self) -> None:
        """Measure time and peak memory until the command may start."""
        peaks: dict[str, list[int]] = {engine: [] for engine in ENGINES}

        def run(engine: str) -> float:
            peaks[engine].append(peak_kib(self._by(engine, "true")))
            start = json.loads(self._evidence.read_bytes().splitlines()[0])
            return float(start["armed_ms"])

        ways = {one: lambda one=one: run(one) for one in ENGINES}
        show("until armed", "ms", 1, alternate(ways, self._rounds))
        print("\npeak memory of the largest process (with bcc, the compiler's)")
        for engine, found in peaks.items():
            print(f"  {engine:<13} {statistics.median(found) / 1024:10.0f} MB")

    def agent(self) -> None:
        """Measure the agent's peak memory after a second with 5,000 connects."""
        print("\npeak memory of the agent, which stays")
        for engine in ENGINES:
            script = (
                f"{self._load} rate 5000 1; "
                f"{AGENT}; cat /proc/$AGENT/stat /proc/$AGENT/status >{self._facts}"
            )
            output(self._by(engine, "sh", "-c", script))
            print(f"  {engine:<13} {self._used()[1]:10.0f} MB")

    def loops(self) -> None:
        """Measure what watching adds to a connect."""
        self._compare_loops("--engine", ENGINES)


def peak_kib(words: list[str]) -> int:
    """Return the peak memory, in KiB, of the largest process that `words` starts."""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{words} ended with {process.returncode}")
    return usage.ru_maxrss


def disk() -> None:
    """Print how much disk space each engine needs beside the wheel."""
    print("\ndisk: installed packages that it needs")
    for engine, patterns in NEEDS.items():
        done = subprocess.run(
            [
                "dpkg-query",
                "-W",
                "-f",
                "${db:Status-Status}|${Installed-Size}|${Package}\n",
                *patterns,
            ],
            check=False,  # one pattern or another matches nothing
            capture_output=True,
            text=True,
        )
        found = [line.split("|") for line in done.stdout.splitlines()]
        sizes = {name: int(size) for state, size, name in found if state == "installed"}
        total = sum(sizes.values()) / 1024
        print(f"  {engine:<13} {total:10.1f} MB  {', '.join(sorted(sizes))}")


def compare(folder: Path, rounds: int) -> None:
    """Run all measurements and print them."""
    began = time.monotonic()
    comparison = Comparison(folder, rounds)
    comparison.armed()
    comparison.agent()
    comparison.loops()
    disk()
    print(f"\n{time.monotonic() - began:.0f} s in all")
