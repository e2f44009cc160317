"""Merge equal look-ups that violate the policy into one record with a count.

Otherwise a process that sends junk would make the evidence grow faster than what it
sends: this way, n equal look-ups make about log n records.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeAlias

from egressmon.evidence.records.traffic import DnsRecord
from egressmon.values import dataclass, replace

_IN_FULL = 8
_MAX_GROUPS = 1024
_QUIET_NS = 600 * 1_000_000_000

Timed: TypeAlias = tuple[DnsRecord, int]
"""A record with its kernel time in nanoseconds."""


@dataclass(slots=True)
class _Group:
    """Look-ups that are equal."""

    written: int
    """How many look-ups are in the records that were yielded."""
    waiting: int
    """How many are held back since."""
    unread: int
    """The unread bytes of those held back."""
    last: Timed


class Repeats:
    """Holds equal look-ups back until as many are waiting as were yielded before.

    The first eight of a group are yielded at once. In a run that lasts, a group is
    forgotten once none of it came for ten minutes (`expire`).
    """

    def __init__(
        self, phase_at: Callable[[int], str | None] = lambda _ktime_ns: None
    ) -> None:
        """`phase_at` says which phase it was at a time: no record is of two phases."""
        self._phase_at = phase_at
        self._groups: OrderedDict[tuple[object, ...], _Group] = OrderedDict()

    def add(self, record: DnsRecord, ktime_ns: int) -> Iterator[Timed]:
        """Yield what to write now: `record`, one record for several, or nothing."""
        if record.verdict != "violation":
            yield record, ktime_ns
            return
        group = self._groups.setdefault(
            (self._phase_at(ktime_ns), *_key(record)),
            _Group(0, 0, 0, (record, ktime_ns)),
        )
        group.last = record, ktime_ns
        group.waiting += 1
        group.unread += record.unread_bytes
        if group.written < _IN_FULL or group.waiting >= group.written:
            yield from _flush(group)
        if len(self._groups) > _MAX_GROUPS:
            yield from _flush(self._groups.popitem(last=False)[1])

    def expire(self, now_ns: int) -> Iterator[Timed]:
        """Yield what is held back of look-ups that came no more for ten minutes."""
        for key, group in list(self._groups.items()):
            if group.last[1] < now_ns - _QUIET_NS:
                del self._groups[key]
                yield from _flush(group)

    def close(self) -> Iterator[Timed]:
        """Yield all that is still held back."""
        while self._groups:
            yield from _flush(self._groups.popitem(last=False)[1])


def _flush(group: _Group) -> Iterator[Timed]:
    if not group.waiting:
        return
    record, ktime_ns = group.last
    whole = replace(record, count=group.waiting, unread_bytes=group.unread)
    yield whole, ktime_ns
    group.written += group.waiting
    group.waiting = group.unread = 0


# Look-ups with the same key are equal. Junk has no name, and a reason that differs from
# one message to the next: the reason is left out then.
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
