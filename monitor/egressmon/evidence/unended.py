"""The run before this one in a folder of evidence: was it ended, or was it killed?

Whoever has root's rights only looks for it by the names of files, and opens it. What
is in it is read by `last_line`, which needs no rights, and takes nothing for granted.
"""

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, Any, cast

import orjson

from egressmon.evidence.gate import MAX_RECORD
from egressmon.evidence.manifest import named, segment_name
from egressmon.evidence.output import digest_of_line
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.text import printable
from egressmon.values import dataclass

_MAX_NAMES = 100_000
_MAX_RUNS = 64
_MAX_RUN = 100
_MAX_TIME = 40


@dataclass(frozen=True, slots=True)
class Before:
    """The newest run in a folder that nobody writes any more."""

    run: str
    file: IO[bytes]
    """Its last file that is not empty, open for reading."""


@dataclass(frozen=True, slots=True)
class LastLine:
    """The last whole line of a run."""

    head: str
    """Its digest, as the line after it would have it."""
    time: str | None
    """None: there is none that can be read."""
    is_end: bool


def find_before(folder: PlainFolder, wanted: str | None = None) -> Before | None:
    """Return the newest run in `folder` that began and is not going on, if any.

    If `wanted` is such a run, it is returned.
    """
    last: dict[str, int] = {}
    for name in _first(folder.names(), _MAX_NAMES):
        found = named(name)
        if found is not None and len(found[0]) <= _MAX_RUN:
            last[found[0]] = max(last.get(found[0], 0), found[1])
    newest = sorted(last, key=lambda run: (run == wanted, run), reverse=True)
    for run in newest[:_MAX_RUNS]:
        file = _opened(folder, run, last[run])
        if file is not None:
            return Before(run, file)
    return None


def _first(names: Iterable[str], count: int) -> Iterable[str]:
    for _, name in zip(range(count), names, strict=False):
        yield name


# The last file may be empty: whoever wrote it was killed there. None: the run goes on,
# did not begin, or is not there as a run is.
def _opened(folder: PlainFolder, run: str, number: int) -> IO[bytes] | None:
    for one in (number, number - 1):
        if not one:
            return None
        try:
            file = folder.open_again(segment_name(run, one))
        except OSError:
            return None
        if one == number and _is_written(file):
            file.close()
            return None
        if os.fstat(file.fileno()).st_size:
            return file
        file.close()
    return None


def _is_written(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.flock(file.fileno(), fcntl.LOCK_UN)
    return False


def last_line(file: IO[bytes]) -> LastLine | None:
    """Return the last whole line in `file`, which anybody may have written.

    None: it has none that could be a record's. Raises OSError.
    """
    size = os.fstat(file.fileno()).st_size
    length = min(size, 2 * (MAX_RECORD + 1))
    data = os.pread(file.fileno(), length, size - length)
    lines = data.split(b"\n")[:-1]  # what follows the last newline was cut off
    if length < size:
        lines = lines[1:]  # it begins before what was read
    if not lines or not lines[-1] or len(lines[-1]) > MAX_RECORD:
        return None
    line = lines[-1]
    time, is_end = None, False
    with suppress(ValueError, TypeError, RecursionError):
        found: Any = orjson.loads(line)
        if isinstance(found, dict):
            record = cast("dict[str, Any]", found)
            is_end = record.get("type") == "run.end"
            said = record.get("time")
            time = printable(said, _MAX_TIME) if isinstance(said, str) else None
    return LastLine(digest_of_line(line), time, is_end)
