"""Check what the fields of a record say of one another, and of other records."""

import re
from typing import Any

from egressmon.values import dataclass, field
from egressmon.verifying.facts import Fact

Json = dict[str, Any]
_WITH_PORTS = frozenset({"tcp", "udp"})
_CONTROL = re.compile(rb'\\[^"]')
_MAX = 1000


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

    _canaries: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _begun: set[str] = field(default_factory=set[str])
    _used: dict[str, tuple[int, int]] = field(
        default_factory=dict[str, tuple[int, int]]
    )

    def add(self, record: Json, place: tuple[int, int]) -> str | None:
        """Note `record`; return how it is there a second time, or None."""
        phase = record["phase"]
        if phase is not None and phase not in self._used and len(self._used) < _MAX:
            self._used[phase] = place
        if record["type"] == "phase" and len(self._begun) < _MAX:
            self._begun.add(record["name"])
        if record["type"] != "canary":
            return None
        canary = record["when"], record["hook"]
        if canary in self._canaries:
            return f"is the canary {canary[1]} at the {canary[0]} a second time"
        if len(self._canaries) < _MAX:
            self._canaries.add(canary)
        return None

    def unknown_phases(self) -> list[tuple[str, tuple[int, int]]]:
        """Return each phase that no record begins, and where it is met first."""
        return [
            (name, place)
            for name, place in self._used.items()
            if name not in self._begun
        ]
