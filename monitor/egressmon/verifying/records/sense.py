"""Check what the fields of a record say of one another, and of other records."""

import re
from bisect import bisect_right
from typing import Any

from egressmon.values import dataclass, field
from egressmon.verifying.records.facts import Fact

Json = dict[str, Any]
_WITH_PORTS = frozenset({"tcp", "udp"})
_CONTROL = re.compile(rb'\\[^"]')
_MAX = 1000
_MAX_MARKS = 10_000


def has_only_own_escapes(line: bytes) -> bool:
    r"""Tell whether the JSON in `line` escapes quotation marks and backslashes alone.

    What is unprintable was made printable before: a `\u0000` is nobody's own.
    """
    return b"\\" not in line or not _CONTROL.search(line.replace(b"\\\\", b""))


def contradiction(record: Json) -> str | None:
    """Return why no connection can be as `record` says; None: it can."""
    dst, protocol, family = record["dst"], record["protocol"], record["family"]
    if dst["port"] is None and protocol in _WITH_PORTS:
        return f"`dst`.port is missing, and {protocol} has one"
    fitting = "inet6" if ":" in dst["ip"] else "inet"
    if family != fitting:
        return f"`family` is {family}, and {dst['ip']} is of {fitting}"
    return None


def other_process(record: Json, actor: Fact | None) -> str | None:
    """Return how the process in `record` is not the `actor` that it refers to."""
    process = record.get("process")
    if actor is None or process is None or process["pid"] == actor.pid():
        return None
    return f"its process is {process['pid']}, and refers to that of {actor.pid()}"


@dataclass(slots=True)
class Once:
    """What can be but once in a run, and what must be."""

    _canaries: set[tuple[str, ...]] = field(default_factory=set[tuple[str, ...]])

    def add(self, record: Json) -> str | None:
        """Note `record`; return how it is there a second time, or None."""
        if record["type"] != "canary":
            return None
        canary: tuple[str, ...] = record["when"], record["hook"]
        if record["when"] == "during":  # each time at another port
            canary = (*canary, str(record["port"]))
        if canary in self._canaries:
            return f"is the canary {canary[1]} at the {canary[0]} a second time"
        if len(self._canaries) < _MAX:
            self._canaries.add(canary)
        return None


class PhaseMarks:
    """Which phase it was at a time, by the marks so far.

    A record has the phase of its time as far as the writer knew the marks, which are
    those before it in the file: so it must be just that (`evidence/phases.py`).
    """

    def __init__(self) -> None:
        # An end is later than all else of its time.
        self._since: list[tuple[str, bool]] = []
        self._names: list[str | None] = []
        self._is_whole = True

    def fits(self, phase: str | None, time: str) -> bool:
        """Tell whether it was `phase` at `time`; None: it was in none."""
        if not self._since:
            return phase is None or not self._is_whole
        at = (time, False)
        if at >= self._since[-1]:
            return phase == self._names[-1] or not self._is_whole
        place = bisect_right(self._since, at)
        found = self._names[place - 1] if place else None
        return phase == found or not self._is_whole

    def add(self, record: Json) -> str | None:
        """Note the marks in `record`; return what is wrong with its phase, or None."""
        phase, time = record["phase"], record["time"]
        is_mark = record["type"] == "phase"
        if is_mark and record["event"] == "begin":
            self._mark(time, record["name"], is_end=False)
        is_right = self.fits(phase, time)
        if is_mark and record["event"] == "end":
            self._mark(time, None, is_end=True)
        if is_right:
            return None
        return f"is of the phase {phase}, which it was not at that time"

    def _mark(self, time: str, name: str | None, *, is_end: bool) -> None:
        mark = (time, is_end)
        if len(self._since) >= _MAX_MARKS or (self._since and mark < self._since[-1]):
            self._is_whole = False  # what follows says nothing any more
            return
        self._since.append(mark)
        self._names.append(name)
