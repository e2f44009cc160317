"""Render a record as the part of its line that is the same whenever it is written."""

import orjson

from egressmon.clock import Clock
from egressmon.evidence import gate
from egressmon.evidence.records import SCHEMA, Record
from egressmon.evidence.referring import ValueRecord, referring
from egressmon.evidence.tally import Group, group_of
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class Rendered:
    """A record, masked, and all of its line but the envelope."""

    record: Record
    body: bytes
    """The record's fields as JSON, from the comma after the envelope's."""
    values: tuple[ValueRecord, ...]
    """What it refers to, and must be in the evidence before it."""
    group: Group | None
    """With which other violations it is counted; None if it is none."""


# Every record goes through the gate here: there is no other way to bytes.
def render(record: Record) -> Rendered:
    """Return `record`, which is masked already, as it will be written."""
    written, values = referring(record)
    body, cuts = gate.admit(written)
    rest = b"," + body[1:]
    if isinstance(record, ValueRecord):  # what has the digest is as it was digested
        rest = b',"digest":"' + record.digest.encode() + b'"' + rest
    if cuts:
        rest = rest[:-1] + b',"cut":' + orjson.dumps(cuts) + b"}"
    return Rendered(record, rest, values, group_of(record))


class Envelopes:
    """Makes the first fields of each line, which no two lines have in common."""

    def __init__(self, run: str, clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._formats: dict[tuple[str, str | None], bytes] = {}

    def of(
        self, kind: str, number: int, ktime_ns: int, phase: str | None, head: str | None
    ) -> bytes:
        """Return the envelope of line `number`, without the brace that closes it."""
        form = self._formats.get((kind, phase)) or self._form(kind, phase)
        previous = f'"{head}"' if head is not None else "null"
        text = self._clock.rfc3339(ktime_ns)
        return form % (number, text.encode(), previous.encode())

    # The fields that differ are numbers, times and digests: nothing in them needs to be
    # escaped. The others go through the gate once.
    def _form(self, kind: str, phase: str | None) -> bytes:
        first, _ = gate.admit({"schema": SCHEMA, "type": kind})
        last, _ = gate.admit({"run": self._run, "phase": phase})
        fixed = first[:-1].replace(b"%", b"%%")
        rest = last[1:-1].replace(b"%", b"%%")
        form = fixed + b',"seq":%d,"time":"%b",' + rest + b',"prev":%b'
        self._formats[kind, phase] = form
        return form
