"""Equal look-ups in violation: the first ones in full, then by their number.

So that who sends junk does not have more written than it sends: n equal ones make
some log n records.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from egressmon.evidence.records import DnsRecord

_IN_FULL = 8
_MAX_KINDS = 1024

Timed: TypeAlias = tuple[DnsRecord, int]


@dataclass(slots=True)
class _Kind:
    told: int
    waiting: int
    unread: int
    last: Timed


class Repeats:
    """Holds equal look-ups back until they are twice as many as were told of."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[tuple[object, ...], _Kind] = OrderedDict()

    def add(self, record: DnsRecord, ktime_ns: int) -> Iterator[Timed]:
        """Yield what is to be told of now: record, several as one, or nothing."""
        if record.verdict != "violation":
            yield record, ktime_ns
            return
        kind = self._kinds.setdefault(_key(record), _Kind(0, 0, 0, (record, ktime_ns)))
        kind.last = record, ktime_ns
        kind.waiting += 1
        kind.unread += record.unread_bytes
        if kind.told < _IN_FULL or kind.waiting >= kind.told:
            yield from _tell(kind)
        if len(self._kinds) > _MAX_KINDS:
            yield from _tell(self._kinds.popitem(last=False)[1])

    def close(self) -> Iterator[Timed]:
        """Yield what is still held back."""
        while self._kinds:
            yield from _tell(self._kinds.popitem(last=False)[1])


def _tell(kind: _Kind) -> Iterator[Timed]:
    if not kind.waiting:
        return
    record, ktime_ns = kind.last
    whole = replace(record, count=kind.waiting, unread_bytes=kind.unread)
    yield whole, ktime_ns
    kind.told += kind.waiting
    kind.waiting = kind.unread = 0


# What makes a message unreadable differs from one piece of junk to the next.
def _key(record: DnsRecord) -> tuple[object, ...]:
    pid = record.process.pid if record.process else None
    why = record.reason if record.name is not None else None
    code = record.code
    return (
        pid,
        (code.test, code.file, code.line) if code is not None else None,
        record.protocol,
        record.resolver,
        record.name,
        record.kind,
        record.status,
        tuple(record.answers),
        why,
    )
