"""`egressmon report`: the evidence in another form."""

import json
import os
import sys
from typing import IO

import orjson

from egressmon.errors import UsageError
from egressmon.reading.lines import LineError, lines_of
from egressmon.reading.values import Values
from egressmon.startup import streams
from egressmon.text import printable

_FINDING = 1
_BEFORE = "egressmon/1"


def report(paths: list[str]) -> int:
    """Print each record of the files, with all that it refers to; return the status.

    Raises UsageError for a file or a line that cannot be read.
    """
    try:
        with os.fdopen(streams.own_output(), "wb") as output:
            return max(_print_file(path, output) for path in paths)
    except OSError as error:
        raise UsageError(
            f"standard output cannot be written: {error.strerror}", "see who reads it"
        ) from error


def _print_file(path: str, output: IO[bytes]) -> int:
    values = Values()
    status = 0
    is_older = False
    for line in lines_of(path):
        try:
            record = line.record()
            is_older = is_older or record.get("schema") == _BEFORE
            shown = _json(values.resolve(record, line.data))
        except LineError as error:
            status = _FINDING
            _complain(f"{path}: line {line.number} {error}")
            continue
        output.write(shown + b"\n")
    if is_older:
        _complain(f"{path}: is {_BEFORE}, which refers to nothing: it is as it was")
    elif values.missing:
        status = _FINDING
        _complain(f"{path}: {values.missing} references to what is not in the file")
    return status


# A file that somebody else wrote can hold characters that a terminal obeys.
def _json(record: dict[str, object]) -> bytes:
    try:
        line = orjson.dumps(record)
    except TypeError as error:
        raise LineError(f"cannot be shown: {error}") from error
    if line.decode().isprintable():
        return line
    return json.dumps(record, separators=(",", ":")).encode()


def _complain(text: str) -> None:
    sys.stderr.write(f"egressmon: {printable(text, 1000)}\n")
