"""The lines of an evidence file, which may be any file at all."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import orjson

from egressmon.errors import UsageError
from egressmon.evidence.gate import MAX_RECORD
from egressmon.files.bounded import open_regular

_CHUNK = 1 << 20
_NO_CONTENT = "is empty: the run was ended before it began"


class LineError(Exception):
    """A line is no record; the message says why."""


class Line(NamedTuple):
    """A line of a file."""

    number: int
    """From 1."""
    data: bytes
    """Without its newline; of a line that is too long for a record, its beginning."""
    is_ended: bool
    """Whether it has its newline; the last one has none after a crash."""

    def record(self) -> dict[str, Any]:
        """Return the JSON object in the line; raises LineError."""
        if len(self.data) > MAX_RECORD:
            raise LineError(f"is longer than a record may be ({MAX_RECORD} bytes)")
        try:
            found = orjson.loads(self.data)
        except orjson.JSONDecodeError as error:
            if not self.is_ended:
                raise LineError("is cut off: whoever wrote it was ended") from error
            raise LineError(f"is no JSON: {error}") from error
        record = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        if not isinstance(record.get("type"), str):
            raise LineError("is no record: it has no `type`")
        return record


def lines_of(path: str) -> Iterator[Line]:
    """Yield the lines of the regular file at `path`; no more than one is in memory.

    Raises UsageError if it cannot be read, is no regular file, or is empty.
    """
    try:
        descriptor = open_regular(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unreadable(path, reason) from error
    with os.fdopen(descriptor, "rb", buffering=_CHUNK) as file:
        number = 0
        try:
            while data := file.readline(MAX_RECORD + 2):
                number += 1
                is_ended = data.endswith(b"\n")
                yield Line(number, data.removesuffix(b"\n"), is_ended)
                while not is_ended and (more := file.readline(_CHUNK)):
                    is_ended = more.endswith(b"\n")
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from error
    if not number:
        raise UsageError(f"{path} {_NO_CONTENT}", "there is nothing to read in it")


def _unreadable(path: str, reason: str) -> UsageError:
    return UsageError(
        f"{path} cannot be read: {reason}", "name a file that `--evidence` wrote"
    )
