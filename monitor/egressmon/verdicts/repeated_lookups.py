"""Record look-ups that are like earlier ones by what was made for these.

Each part is kept by all that it rests on: a message by its bytes, who asked by the
packet and by what each stage says that its answer rests on, a record by its parts,
which nothing changes, and a line by its record. What a look-up teaches is learned each
time. A test compares what is written with and without this, byte by byte.
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeAlias

from egressmon.events.glance import FlowHead
from egressmon.events.model import Address, DnsPacket
from egressmon.evidence.records.traffic import DnsRecord
from egressmon.evidence.rendering import Rendered
from egressmon.faults import Faults
from egressmon.naming.dns.message import Message
from egressmon.naming.dns.messages import Messages
from egressmon.policy.judging.judge import Verdict
from egressmon.recent import Recent
from egressmon.verdicts.callers import Caller, Callers
from egressmon.verdicts.repeated import Lines

_MAX_KEPT = 512
_MAX_ANSWERS = 16  # of a record that is kept
_MAX_BYTES = 4 << 20  # of lines
Basis: TypeAlias = Callable[[FlowHead | DnsPacket], Hashable]
"""Returns all that an answer about who sent it rests on; None: that cannot be said."""


class Parts(NamedTuple):
    """All that a look-up's record is made of."""

    protocol: int
    server: Address
    query: Message | None
    response: Message | None
    unread: int
    is_trusted: bool
    verdict: Verdict
    asker: Caller
    place: int | None


class RepeatedLookups:
    """Bounded numbers of messages, callers, records and lines of look-ups."""

    def __init__(
        self, callers: Callers, basis: Basis, lines: Lines, faults: Faults
    ) -> None:
        """Ask `callers` who sent a packet, and `basis` on what the answer rests.

        An answer during which something failed, as `faults` has it, is not kept.
        """
        self._messages = Messages()
        self.read = self._messages.read
        self._callers = callers
        self._basis = basis
        self._lines = lines
        self._faults = faults
        self._askers = Recent[Hashable, Caller](_MAX_KEPT)
        self._records = Recent[Hashable, tuple[Parts, DnsRecord]](_MAX_KEPT)
        self._seen = Recent[int, DnsRecord](_MAX_KEPT)
        self._rendered = Recent[int, tuple[DnsRecord, Rendered]](
            _MAX_KEPT, _MAX_BYTES, _size
        )

    def turn(self) -> None:
        """Let go of what was not used since the last turn."""
        self._messages.turn()
        for kept in (self._askers, self._records, self._seen, self._rendered):
            kept.turn()

    def who_asks(self, packet: DnsPacket) -> Caller:
        """Return who sent `packet`, to be asked as it comes."""
        basis = self._basis(packet)
        if basis is None:
            return self._callers.lookup(packet)
        key = (
            packet.pid, packet.tid, packet.uid, packet.comm, packet.start_ns,
            packet.exec_id, packet.flags, packet.cgroup, basis,
        )  # fmt: skip
        known = self._askers.get(key)
        if known is None:
            faults = self._faults.count
            known = self._callers.lookup(packet)
            if self._faults.count == faults:
                self._askers.put(key, known)
        return known

    def record(self, parts: Parts, make: Callable[[Parts], DnsRecord]) -> DnsRecord:
        """Return what `make` makes of `parts`, as it did for the same ones before."""
        query, response, asker = parts.query, parts.response, parts.asker
        # The objects are compared by what they are, as they are kept with the record.
        key = (
            parts.protocol, parts.server, id(query), id(response), parts.unread,
            parts.is_trusted, parts.verdict, id(asker), parts.place,
        )  # fmt: skip
        known = self._records.get(key)
        if known is not None:
            return known[1]
        record = make(parts)
        if len(record.answers) <= _MAX_ANSWERS:
            self._records.put(key, (parts, record))
        return record

    def put(self, record: DnsRecord, ktime_ns: int) -> None:
        """Write `record`; the line of one that comes again is kept."""
        known = self._rendered.get(id(record))
        if known is not None:
            self._lines.put(known[1], ktime_ns)
            return
        rendered = self._lines.prepare(record)
        self._lines.put(rendered, ktime_ns)
        if self._seen.get(id(record)) is not None:
            self._seen.pop(id(record))
            self._rendered.put(id(record), (record, rendered))
        else:
            self._seen.put(id(record), record)


def _size(kept: tuple[DnsRecord, Rendered]) -> int:
    return len(kept[1].body)
