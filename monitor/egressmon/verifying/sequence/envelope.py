"""Take a line of evidence apart: what each line has of its own, and the record."""

import re
from typing import NamedTuple

import orjson

from egressmon.evidence.records import SCHEMA

HEAD = re.compile(
    rb'\{"schema":"'
    + SCHEMA.encode()
    + rb'","type":"([a-z.]+)","seq":(0|[1-9]\d{0,15}),'
    rb'"time":"(\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d\.\d{9}Z)",(.*)',
    re.DOTALL,
)
_TEXT = rb'"(?:[^"\\]|\\.)*"'
_OWN = re.compile(rb'"run":(' + _TEXT + rb'),"phase":(null|' + _TEXT + rb")")
# No other could be a run's: they would be taken for egressmon's own words in a message.
_RUN = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_SCHEMA = re.compile(rb'[\s\xef\xbb\xbf]*\{\s*"schema"\s*:\s*"egressmon/(\d{1,6})"')


class Head(NamedTuple):
    """The fields before a line's `prev`."""

    kind: str
    seq: int
    time: str
    """Those of a file compare as their texts do."""
    own: bytes
    """`run` and `phase`, as they are written: of most lines the same."""


def head_of(data: bytes) -> Head | None:
    """Return what is before `,"prev":` in a line; None if it is not as it should be."""
    found = HEAD.fullmatch(data)
    if found is None:
        return None
    kind, number, time, own = found.groups()
    return Head(kind.decode(), int(number), time.decode(), own)


def run_of(own: bytes) -> str | None:
    """Return the run that `Head.own` names; None if no run can be called so."""
    found = _OWN.fullmatch(own)
    if found is None:
        return None
    try:
        run: str = orjson.loads(found[1])
        orjson.loads(found[2])
    except orjson.JSONDecodeError:
        return None
    return run if _RUN.fullmatch(run) else None


def schema_number(line: bytes) -> int | None:
    """Return the number of the schema by which `line` begins; None if it has none."""
    found = _SCHEMA.match(line)
    return int(found[1]) if found else None
