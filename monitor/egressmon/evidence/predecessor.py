"""What a run had seen that another one goes on from: violations, and doubts.

Its files may have been written by anybody: no more than the end of the last one is
read, and what cannot be reckoned from that is unknown.
"""

import os
from typing import IO, Any, cast

import orjson

from egressmon.evidence.output import digest_of_line
from egressmon.values import dataclass

_TAIL = 16 << 20
_FORMS = frozenset({"connection", "dns"})
_DOUBTFUL = frozenset(
    {"unreadable", "unread", "dns_broken", "dns_left_out", "evidence"}
)
"""Losses that leave a run incomplete, besides those that are called lost_*."""
NOT_CONCLUDED = "the run was not concluded"
"""How the reason begins that each run has which another one goes on from."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Predecessor:
    """What a run, and those that it went on from, had seen by its last record."""

    violations: int
    is_doubted: bool
    """Whether it was incomplete for more than that nobody concluded it."""


def predecessor_of(file: IO[bytes]) -> Predecessor | None:
    """Return what the run had seen whose last file `file` is.

    That is what its last heartbeat or its end says, and the records behind that. None:
    there is neither near the end of the file, or it is not as it was written. Raises
    OSError.
    """
    size = os.fstat(file.fileno()).st_size
    length = min(size, _TAIL)
    lines = os.pread(file.fileno(), length, size - length).split(b"\n")
    behind, is_doubted, prev = 0, False, None
    for line in reversed(lines[:-1] if length == size else lines[1:-1]):
        record = _record(line)
        if record is None or prev not in {None, digest_of_line(line)}:
            return None
        prev = record.get("prev")
        kind = record.get("type")
        if kind in {"heartbeat", "run.end", "restart", "run.start"}:
            return _plus(_told(record), behind, is_doubted=is_doubted)
        is_doubted = is_doubted or _is_doubt(record)
        if kind in _FORMS and record.get("verdict") == "violation":
            count = _count(record.get("count", 1))
            if count is None:
                return None
            behind += count
    return None


def _record(line: bytes) -> Json | None:
    try:
        found: Any = orjson.loads(line)
    except ValueError:
        return None
    return cast("Json", found) if isinstance(found, dict) else None


def _plus(
    told: Predecessor | None, behind: int, *, is_doubted: bool
) -> Predecessor | None:
    if told is None:
        return None
    return Predecessor(told.violations + behind, told.is_doubted or is_doubted)


# What a record by itself makes of a run.
def _is_doubt(record: Json) -> bool:
    kind = record.get("type")
    if kind in {"escape", "gap"}:
        return record.get("doubt") is not False
    if kind == "canary":
        return record.get("reason") is not None
    return kind in {"loss", "unreadable"}


# What a record says of all before it.
def _told(record: Json) -> Predecessor | None:
    kind = record.get("type")
    if kind == "run.start":
        return Predecessor(0, is_doubted=False)
    if kind == "restart":
        before = _count(record.get("violations"))
        doubt = record.get("doubt") is not False
        return None if before is None else Predecessor(before, doubt)
    violations = _counted(record)
    if violations is None:
        return None
    is_doubted = _has_losses(record) or (
        _is_reasoned(record) if kind == "run.end" else record.get("doubts") != 0
    )
    return Predecessor(violations, is_doubted)


def _has_losses(record: Json) -> bool:
    losses = record.get("losses")
    if not isinstance(losses, dict):
        return True
    return any(
        count != 0
        for name, count in cast("Json", losses).items()
        if name.startswith("lost_") or name in _DOUBTFUL
    )


def _is_reasoned(record: Json) -> bool:
    reasons = record.get("incomplete_reasons")
    if not isinstance(reasons, list):
        return True
    listed = cast("list[object]", reasons)
    return not all(str(one).startswith(NOT_CONCLUDED) for one in listed)


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _counted(record: Json) -> int | None:
    total = _count(record.get("before", 0))
    for name in ("connections", "queries"):
        counts = record.get(name)
        if not isinstance(counts, dict):
            return None
        count = _count(cast("Json", counts).get("violation", 0))
        if count is None or total is None:
            return None
        total += count
    return total
