"""DNS exchange -> look-up: what it teaches about addresses, and the verdict on it."""

from collections.abc import Iterator
from dataclasses import dataclass

from egressmon.attribution.processes import LOST, Processes
from egressmon.attribution.result import Attribute, Attribution, unknown
from egressmon.events.decode import protocol_name
from egressmon.events.model import (
    DNS_BEGIN,
    DNS_LAYERED,
    FLAG_INGRESS,
    FLAG_UNREAD,
    DnsPacket,
)
from egressmon.evidence.records import Actor, DnsRecord
from egressmon.naming.dns.exchanges import DnsWatch, Exchange
from egressmon.naming.names import Names
from egressmon.policy.judge import Judge, Verdict
from egressmon.sensor.canary import CanaryWatch
from egressmon.verdicts.repeats import Repeats

_TCP = 6
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Asker:
    process: Actor | None
    process_reason: str | None
    source: Attribution


class Queries:
    """Turns DNS packets into judged records, and their answers into names."""

    def __init__(
        self,
        judge: Judge,
        names: Names,
        processes: Processes,
        canaries: CanaryWatch,
        attribute: Attribute,
    ) -> None:
        """The canaries know which network namespace is the scope's own."""
        self._judge = judge
        self._names = names
        self._processes = processes
        self._canaries = canaries
        self._attribute = attribute
        self._repeats = Repeats()
        self.watch = DnsWatch(self._who_asks)
        self.unasked_streams = 0
        """TCP streams of which sock_diag does not tell what is unsent."""

    def records(self, packet: DnsPacket) -> Iterator[tuple[DnsRecord, int]]:
        """Yield each look-up that `packet` ends, with the time at which it began."""
        if (
            packet.protocol == _TCP
            and packet.traits & DNS_BEGIN
            and self._is_unasked(packet)
        ):
            self.unasked_streams += 1
        if packet.flags & FLAG_UNREAD:
            if not packet.flags & FLAG_INGRESS:  # what others send is no look-up
                yield self._unread(packet), packet.ktime_ns
            return
        for exchange in self.watch.feed(packet):
            yield from self._repeats.add(
                self._record(exchange), exchange.packet.ktime_ns
            )

    def close(self, now_ns: int) -> Iterator[tuple[DnsRecord, int]]:
        """Yield the look-ups that nobody answered, and the bytes that are in none."""
        for exchange in self.watch.close(now_ns):
            yield from self._repeats.add(
                self._record(exchange), exchange.packet.ktime_ns
            )
        yield from self._repeats.close()

    def _is_unasked(self, packet: DnsPacket) -> bool:
        own = self._canaries.netns
        elsewhere = packet.netns not in {0, own}
        layered = packet.traits & DNS_LAYERED
        return bool(not packet.flags & FLAG_INGRESS and (elsewhere or layered))

    # The same socket tells of it again each time that it is twice as much.
    def _unread(self, packet: DnsPacket) -> DnsRecord:
        asker = self._who_asks(packet)
        source = asker.source
        return DnsRecord(
            protocol=protocol_name(packet.protocol),
            resolver=str(packet.server),
            name=None,
            asked=None,
            kind=None,
            status=None,
            answers=[],
            answer_count=None,
            unread_bytes=packet.total_size,
            trusted=False,
            process=asker.process,
            process_reason=asker.process_reason,
            verdict="violation",
            rule=None,
            reason=f"{packet.total_size} bytes or more to port 53 were not read: more "
            "than is read of one socket",
            module=source.module,
            module_reason=source.module_reason,
            route=source.route,
            route_reason=source.route_reason,
            bypass=source.bypass,
            code=source.code,
            code_reason=source.code_reason,
        )

    # As the question comes: by the answer, the process may run another program.
    def _who_asks(self, packet: DnsPacket) -> _Asker:
        lost = self._processes.is_lost(packet)
        source = unknown(LOST) if lost else self._attribute(packet)
        return _Asker(*self._processes.actor(packet), source)

    def _record(self, exchange: Exchange[_Asker]) -> DnsRecord:
        packet, response = exchange.packet, exchange.response
        asker, source = exchange.asker, exchange.asker.source
        message = exchange.query or response
        doubt = self._doubt(exchange)
        if doubt is None:
            self._learn(exchange)
        verdict = self._verdict(exchange, doubt)
        spelling = message.asked.rstrip(".") if message else None
        return DnsRecord(
            protocol=protocol_name(packet.protocol),
            resolver=str(packet.server),
            name=message.name if message else None,
            asked=spelling if message and spelling != message.name else None,
            kind=message.kind if message else None,
            status=response.status if response else None,
            answers=list(response.answers) if response else [],
            answer_count=response.answer_count if response else None,
            unread_bytes=exchange.unread,
            trusted=doubt is None,
            process=asker.process,
            process_reason=asker.process_reason,
            verdict=verdict.word,
            rule=verdict.rule,
            reason=verdict.reason,
            module=source.module,
            module_reason=source.module_reason,
            route=source.route,
            route_reason=source.route_reason,
            bypass=source.bypass,
            code=source.code,
            code_reason=source.code_reason,
        )

    def _verdict(self, exchange: Exchange[_Asker], doubt: str | None) -> Verdict:
        message = exchange.query or exchange.response
        if exchange.violation is not None:
            return Verdict("violation", None, exchange.violation)
        if message is None:
            return Verdict("violation", None, doubt or "unreadable message")
        verdict = self._judge.query(message.name, exchange.packet.server)
        if doubt is None:
            return verdict
        return Verdict(verdict.word, verdict.rule, f"{verdict.reason}; {doubt}")

    def _learn(self, exchange: Exchange[_Asker]) -> None:
        query, response = exchange.query, exchange.response
        if query is None or response is None:
            return
        expires = exchange.ended_ns + response.ttl * _BILLION
        for address in response.addresses:
            self._names.learn(address, query.name, "dns", expires)

    # An answer names addresses only when it came from a trusted resolver, in the
    # scope's own network namespace (anybody can play 127.0.0.53 in another one).
    def _doubt(self, exchange: Exchange[_Asker]) -> str | None:
        packet = exchange.packet
        if exchange.query is None or exchange.response is None:
            return exchange.doubt
        why = exchange.doubt
        if packet.server not in self._judge.resolvers:
            why = "not a trusted resolver"
        elif packet.netns != self._canaries.netns:
            why = "another network namespace"
        return f"the answer names nothing: {why}" if why else None
