"""How many violations a run had that another one goes on from.

Its files may have been written by anybody: no more than the end of the last one is
read, and what cannot be reckoned from that is unknown.
"""

import os
from typing import IO, Any, cast

import orjson

_TAIL = 16 << 20
_FORMS = frozenset({"connection", "dns"})
Json = dict[str, Any]


def violations_of(file: IO[bytes]) -> int | None:
    """Return the violations of the run whose last file `file` is, and of those before.

    They are those that its last heartbeat or its end counts, and the records behind
    that. None: there is neither near the end of the file. Raises OSError.
    """
    size = os.fstat(file.fileno()).st_size
    length = min(size, _TAIL)
    lines = os.pread(file.fileno(), length, size - length).split(b"\n")
    behind = 0
    for line in reversed(lines[:-1] if length == size else lines[1:-1]):
        record = _record(line)
        if record is None:
            return None
        kind = record.get("type")
        if kind in _FORMS and record.get("verdict") == "violation":
            count = _count(record.get("count", 1))
            if count is None:
                return None
            behind += count
        elif kind in {"heartbeat", "run.end"}:
            counted = _counted(record)
            return None if counted is None else counted + behind
        elif kind == "restart":
            before = _count(record.get("violations"))
            return None if before is None else before + behind
        elif kind == "run.start":
            return behind
    return None


def _record(line: bytes) -> Json | None:
    try:
        found: Any = orjson.loads(line)
    except ValueError:
        return None
    return cast("Json", found) if isinstance(found, dict) else None


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
