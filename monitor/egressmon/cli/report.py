"""`egressmon report`: the evidence in another form."""

import json
import sys

import orjson

from egressmon.errors import UsageError
from egressmon.reading.lines import LineError, lines_of
from egressmon.reading.values import Values
from egressmon.text import printable

_FINDING = 1


def report(paths: list[str]) -> int:
    """Print each record of the files, with all that it refers to; return the status.

    Raises UsageError for a file or a line that cannot be read.
    """
    return max(_print_file(path) for path in paths)


def _print_file(path: str) -> int:
    values = Values()
    status = 0
    for line in lines_of(path):
        try:
            shown = _json(values.resolve(line.record(), len(line.data)))
        except LineError as error:
            status = _FINDING
            _complain(f"{path}: line {line.number} {error}")
            continue
        _print(shown)
    if values.missing:
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


def _print(line: bytes) -> None:
    try:
        sys.stdout.buffer.write(line + b"\n")
    except OSError as error:
        raise UsageError(
            f"standard output cannot be written: {error.strerror}", "see who reads it"
        ) from error


def _complain(text: str) -> None:
    sys.stderr.write(f"egressmon: {printable(text, 1000)}\n")
