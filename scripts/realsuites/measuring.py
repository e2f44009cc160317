"""Run a command and measure what it takes."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    status: int
    cpu_s: float
    """User and system time: the command's, its children's, and the agent's."""
    wall_s: float
    others: float
    """How many cores everything else on the machine kept busy meanwhile."""


def measured(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Cost:
    """Run `words` in `folder`, with its output in `log`, and return what it took."""
    busy, start = busy_s(_STAT.read_text()), time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - start
    cpu_s = usage.ru_utime + usage.ru_stime
    others = (busy_s(_STAT.read_text()) - busy - cpu_s) / wall_s
    return Cost(child.returncode, cpu_s, wall_s, max(0.0, others))


def busy_s(stat: str) -> float:
    """Return for how long all processors were not idle, from the text of /proc/stat."""
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.split()[1:9])
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")
