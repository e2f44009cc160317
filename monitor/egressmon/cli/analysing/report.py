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


def report(paths: list[str], form: str = "json") -> int:
    """Print the evidence at `paths` in the `form` wanted, and return the status.

    `json`: each record, with all that it refers to. `in-toto`: a Statement for each
    path. `surfaces`: an inventory of all of them. Raises UsageError for what cannot be
    read.
    """
    try:
        with os.fdopen(streams.own_output(), "wb") as output:
            if form == "surfaces":
                return _print_surfaces(paths, output)
            if form == "in-toto":
                return max(_print_statement(one, output) for one in _together(paths))
            return max(_print_file(path, output) for path in paths)
    except OSError as error:
        raise UsageError(
            f"standard output cannot be written: {error.strerror}", "see who reads it"
        ) from error


def _together(paths: list[str]) -> list[tuple[str, ...]]:
    from egressmon.verifying.walking.grouping import together  # noqa: PLC0415 -- slow

    return together(paths)


# What does not verify is not stated: a signature would make it look as if it did.
def _print_statement(paths: tuple[str, ...], output: IO[bytes]) -> int:
    from egressmon.proofs.judging.rejudged import claims_of  # noqa: PLC0415
    from egressmon.verifying.result import Wanted  # noqa: PLC0415
    from egressmon.verifying.walking.place import verify  # noqa: PLC0415 -- slow
    from egressmon.verifying.witnesses.statement import statement  # noqa: PLC0415

    path = paths[0]
    result = verify(path, Wanted(judge=claims_of), paths[1:])
    for error in result.unreadable:
        raise error
    for inner in result.inner:
        raise UsageError(
            f"{path} has a proof below it, {inner}, which is stated by itself",
            "name each proof",
        )
    if result.found:
        first = result.found[0]
        _complain(
            f"{path}: no statement is made of it, as `egressmon verify` finds "
            f"{len(result.found) + result.more} faults; the first: {first.message}"
        )
        return _FINDING
    try:
        made = statement(path, result.files)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", "name evidence"
        ) from error
    output.write(json.dumps(made).encode() + b"\n")
    return 0


def _print_surfaces(paths: list[str], output: IO[bytes]) -> int:
    from egressmon.auditing.gathering import inventory_of  # noqa: PLC0415 -- slow
    from egressmon.auditing.surfaces import surfaces  # noqa: PLC0415

    inventory, doubts = inventory_of(paths)
    for line in surfaces(inventory, doubts):
        output.write(f"{line}\n".encode("utf-8", "backslashreplace"))
    for one in doubts:
        _complain(f"not whole: {one}")
    return _FINDING if doubts else 0


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
