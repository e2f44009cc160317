"""DNS exchange -> look-up: what it teaches about addresses, and the verdict on it."""

from collections.abc import Iterator

from egressmon.canary import CanaryWatch
from egressmon.decode import protocol_name
from egressmon.dns_watch import DnsWatch, Exchange
from egressmon.events import FLAG_INGRESS, FLAG_UNREAD, Address, DnsPacket
from egressmon.names import Names
from egressmon.policy.judge import Judge, Verdict
from egressmon.processes import Processes
from egressmon.records import DnsRecord
from egressmon.repeats import Repeats

_BILLION = 1_000_000_000


class Queries:
    """Turns DNS packets into judged records, and their answers into names."""

    def __init__(
        self, judge: Judge, names: Names, processes: Processes, canaries: CanaryWatch
    ) -> None:
        """The canaries know which network namespace is the scope's own."""
        self._judge = judge
        self._names = names
        self._processes = processes
        self._canaries = canaries
        self._own_servers: set[Address] = set()
        self._repeats = Repeats()
        self.watch = DnsWatch()

    def distrust(self, server: Address) -> None:
        """Note that the scope itself receives at server's DNS port."""
        self._own_servers.add(server)

    def records(self, packet: DnsPacket) -> Iterator[tuple[DnsRecord, int]]:
        """Yield each look-up that packet ends, with the time at which it began."""
        if packet.flags & FLAG_UNREAD:
            if not packet.flags & FLAG_INGRESS:  # what others send is no look-up
                yield self._unread(packet), packet.ktime_ns
            return
        for exchange in self.watch.feed(packet):
            yield from self._repeats.add(
                self._record(exchange), exchange.packet.ktime_ns
            )

    def close(self, now_ns: int) -> Iterator[tuple[DnsRecord, int]]:
        """Yield the look-ups that nobody answered."""
        for exchange in self.watch.close(now_ns):
            yield from self._repeats.add(
                self._record(exchange), exchange.packet.ktime_ns
            )
        yield from self._repeats.close()

    # The same socket tells of it again each time that it is twice as much.
    def _unread(self, packet: DnsPacket) -> DnsRecord:
        actor, why_not = self._processes.actor(packet)
        return DnsRecord(
            protocol=protocol_name(packet.protocol),
            resolver=str(packet.server),
            name=None,
            kind=None,
            status=None,
            answers=[],
            trusted=False,
            process=actor,
            process_reason=why_not,
            verdict="violation",
            rule=None,
            reason=f"{packet.total_size} bytes or more to port 53 were not read: more "
            "than is read of one socket",
        )

    def _record(self, exchange: Exchange) -> DnsRecord:
        packet, response = exchange.packet, exchange.response
        message = exchange.query or response
        trusted, reason = self._trust(exchange)
        if trusted:
            self._learn(exchange)
        verdict = Verdict("violation", None, reason or "unreadable message")
        if message is not None:
            verdict = self._judge.query(message.name, packet.server)
        why = verdict.reason
        if message is not None and reason is not None:
            why = f"{why}; {reason}"
        actor, why_not = self._processes.actor(packet)
        return DnsRecord(
            protocol=protocol_name(packet.protocol),
            resolver=str(packet.server),
            name=message.name if message else None,
            kind=message.kind if message else None,
            status=response.status if response else None,
            answers=list(response.answers) if response else [],
            trusted=trusted,
            process=actor,
            process_reason=why_not,
            verdict=verdict.word,
            rule=verdict.rule,
            reason=why,
        )

    def _learn(self, exchange: Exchange) -> None:
        query, response = exchange.query, exchange.response
        if query is None or response is None:
            return
        expires = exchange.ended_ns + response.ttl * _BILLION
        for address in response.addresses:
            self._names.learn(address, query.name, "dns", expires)

    # An answer names addresses only when it came from a trusted resolver, in the
    # scope's own network namespace (anybody can play 127.0.0.53 in another one).
    def _trust(self, exchange: Exchange) -> tuple[bool, str | None]:
        if not exchange.trusted:
            return False, exchange.reason
        packet = exchange.packet
        if packet.server not in self._judge.resolvers:
            return False, "the answer names nothing: not a trusted resolver"
        if packet.server in self._own_servers:
            return False, "the answer names nothing: the scope itself listens there"
        if packet.netns != self._canaries.netns:
            return False, "the answer names nothing: another network namespace"
        return True, None
