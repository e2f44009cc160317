"""Convert the kernel's monotonic times into calendar times."""

import re
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

_BILLION = 1_000_000_000
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
HOW_LONG = "0s, 500ms, 2m or 1h"


def seconds(text: str) -> float:
    """Return the seconds in a duration such as 0s, 500ms or 2m; raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return float(match[1]) * _UNITS[match[2]]


_OFFSETS = Path("/proc/self/timens_offsets")


@cache
def ahead_ns() -> int:
    """Return how far CLOCK_BOOTTIME is ahead of the kernel's own here, in nanoseconds.

    In a time namespace (time_namespaces(7)) it is, and so are the times in /proc; those
    of the kernel's events are not.
    """
    try:
        lines = _OFFSETS.read_text().splitlines()
    except OSError:
        return 0  # a kernel without time namespaces
    clocks = {words[0]: words[1:] for words in map(str.split, lines) if len(words) == 3}
    seconds, nanoseconds = clocks.get("boottime", ("0", "0"))
    return int(seconds) * _BILLION + int(nanoseconds)


def kernel_ns() -> int:
    """Return the present time as the kernel's events have it (ns since boot)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ahead_ns()


class Clock:
    """Converts kernel times (CLOCK_BOOTTIME, nanoseconds) to RFC 3339 in UTC.

    The offset between the two clocks is measured once, so that times within a run
    never go backwards when somebody sets the system time.
    """

    def __init__(self) -> None:
        before = kernel_ns()
        now = time.time_ns()
        after = kernel_ns()
        self._offset = now - (before + after) // 2
        self._second = -1
        self._text = ""

    def ahead_ns(self) -> int:
        """Return how far the machine's clock is ahead of the times of this run.

        It is what somebody set it by since the start; less than 0: it is behind.
        """
        before = kernel_ns()
        now = time.time_ns()
        after = kernel_ns()
        return now - (before + after) // 2 - self._offset

    def now_ns(self) -> int:
        """Return the present time as the kernel's events have it."""
        return kernel_ns()

    @property
    def offset_ns(self) -> int:
        """How far the calendar's time is ahead of the kernel's, in nanoseconds."""
        return self._offset

    def rfc3339(self, ktime_ns: int) -> str:
        """Return `ktime_ns` in RFC 3339, such as 2026-11-22T09:30:00.000000001Z."""
        second, nanosecond = divmod(ktime_ns + self._offset, _BILLION)
        if second != self._second:
            self._second = second
            moment = datetime.fromtimestamp(second, UTC)
            self._text = moment.strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._text}{nanosecond:09d}Z"
