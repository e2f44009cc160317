"""Make a look-up record of each DNS exchange, and learn names from its answer."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from egressmon.events.decode import protocol_name
from egressmon.events.model import (
    DNS_BEGIN,
    DNS_LAYERED,
    DNS_LOOPBACK,
    DNS_TRANSLATED,
    FLAG_INGRESS,
    FLAG_UNREAD,
    DnsPacket,
)
from egressmon.evidence.records.traffic import DnsRecord
from egressmon.naming.dns.exchanges import DnsWatch, Exchange
from egressmon.naming.names import Names
from egressmon.naming.places import Place, Places
from egressmon.policy.judging.judge import Verdict
from egressmon.policy.judging.pointers import pointed_address
from egressmon.policy.judging.questions import Asked
from egressmon.sensor.canary import CanaryWatch
from egressmon.verdicts.callers import Caller, Callers
from egressmon.verdicts.repeated_lookups import Parts, RepeatedLookups
from egressmon.verdicts.repeats import Repeats
from egressmon.verdicts.unjudged import unjudged

if TYPE_CHECKING:
    from egressmon.naming.dns.servers import Servers

_TCP = 6
_BILLION = 1_000_000_000


class Queries:
    """Turns DNS packets into judged records, and their answers into names."""

    def __init__(  # noqa: PLR0913 -- the stages that it joins
        self,
        places: Places,
        callers: Callers,
        canaries: CanaryWatch,
        *,
        may_translate: bool = False,
        phase_at: Callable[[int], str | None] = lambda _ktime_ns: None,
        repeated: RepeatedLookups | None = None,
        is_machines: Callable[[DnsPacket], bool] | None = None,
    ) -> None:
        """`places` have the names and the judge of each place.

        `canaries` knows which network namespace the scope began in, and `is_machines`
        who is a service of the machine's, where all of that is in the scope.

        `phase_at` says which phase of a scenario it was at a time.
        `may_translate` says that the command itself may have its questions sent
        elsewhere (NAT). `repeated` keeps what is made of a look-up; None: all is made
        anew.
        """
        self._places = places
        self._callers = callers
        self._canaries = canaries
        self._may_translate = may_translate
        self._is_machines = is_machines
        self._servers = _servers(is_machines) if is_machines is not None else None
        self._repeats = Repeats(phase_at)
        self._repeated = repeated
        self.watch = (
            DnsWatch(callers.lookup, is_trusted=is_machines)
            if repeated is None
            else DnsWatch(repeated.who_asks, repeated.read, is_machines)
        )
        self.unasked_streams = 0
        """TCP streams whose unsent bytes sock_diag cannot report."""
        self.left_out = 0
        """Parts of believed answers that may have more addresses than are believed."""

    def records(self, packet: DnsPacket) -> Iterator[tuple[DnsRecord, int]]:
        """Yield each look-up that `packet` completes, with its kernel time in ns.

        The time is that of the look-up's first packet.
        """
        if self._servers is not None:
            trusted = self._places.home.judge.resolvers
            if self._servers.note(packet, trusted):
                self._places.serve(packet, packet.server)
        if (
            packet.protocol == _TCP
            and packet.traits & DNS_BEGIN
            and self._hides_unsent(packet)
        ):
            self.unasked_streams += 1
        if packet.flags & FLAG_UNREAD:
            if not packet.flags & FLAG_INGRESS:  # incoming bytes are no look-up
                yield self._unread(packet), packet.ktime_ns
            return
        for exchange in self.watch.feed(packet):
            yield from self._repeats.add(
                self._record(exchange), exchange.packet.ktime_ns
            )

    def settle(self) -> Iterator[tuple[DnsRecord, int]]:
        """Yield the look-ups that were judged and are held back."""
        yield from self._repeats.close()

    def expire(self, now_ns: int) -> Iterator[tuple[DnsRecord, int]]:
        """Yield the look-ups that an answer is waited for no longer."""
        for exchange in self.watch.expire(now_ns):
            yield from self._repeats.add(
                self._record(exchange), exchange.packet.ktime_ns
            )
        yield from self._repeats.expire(now_ns)

    def close(self, now_ns: int) -> Iterator[tuple[DnsRecord, int]]:
        """Yield the look-ups without an answer, and bytes that form no message."""
        for exchange in self.watch.close(now_ns):
            yield from self._repeats.add(
                self._record(exchange), exchange.packet.ktime_ns
            )
        yield from self._repeats.close()

    # sock_diag does not see what is unsent below MPTCP or in another network namespace.
    def _hides_unsent(self, packet: DnsPacket) -> bool:
        own = self._canaries.netns
        elsewhere = packet.netns not in {0, own}
        layered = packet.traits & DNS_LAYERED
        return bool(not packet.flags & FLAG_INGRESS and (elsewhere or layered))

    # The probes report it again each time the socket's unread bytes have doubled.
    def _unread(self, packet: DnsPacket) -> DnsRecord:
        caller, place = self._callers.lookup(packet), self._places.of(packet)
        why = (
            f"{packet.total_size} bytes or more to port 53 were not read: more than is "
            "read of one socket"
        )
        unread = Verdict("violation", None, why)
        verdict = unjudged(unread, caller.origin, place.judge.policy)
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
            verdict=verdict.word,
            rule=verdict.rule,
            reason=verdict.reason,
            place=place.number,
            **caller.fields(),
        )

    def _record(self, exchange: Exchange[Caller]) -> DnsRecord:
        place = self._places.of(exchange.packet)
        self._note_asking(exchange.packet, place)
        doubt = self._doubt(exchange, place)
        verdict = unjudged(
            self._verdict(exchange, doubt, place),
            exchange.asker.origin,
            place.judge.policy,
        )
        if doubt is None:
            self._learn(exchange, place.names)
        packet = exchange.packet
        parts = Parts(
            packet.protocol, packet.server, exchange.query, exchange.response,
            exchange.unread, doubt is None, verdict, exchange.asker,
            place.number,
        )  # fmt: skip
        if self._repeated is None:
            return _record_of(parts)
        return self._repeated.record(parts, _record_of)

    def _verdict(
        self, exchange: Exchange[Caller], doubt: str | None, place: Place
    ) -> Verdict:
        message = exchange.query or exchange.response
        if exchange.violation is not None:
            return Verdict("violation", None, exchange.violation)
        if message is None:
            return Verdict("violation", None, doubt or "unreadable message")
        asked = _asked(message.name, exchange.packet.ktime_ns, place.names)
        verdict = place.judge.query(message.name, exchange.packet.server, asked)
        if doubt is None:
            return verdict
        return Verdict(verdict.word, verdict.rule, f"{verdict.reason}; {doubt}")

    def _learn(self, exchange: Exchange[Caller], names: Names) -> None:
        query, response = exchange.query, exchange.response
        if query is None or response is None:
            return
        self.left_out += response.left_out
        expires = exchange.ended_ns + response.ttl * _BILLION
        names.aliases.learn(query.name, response.aliases, expires)
        if query.kind in {"A", "AAAA"} and exchange.violation is None:
            is_there = response.status != "NXDOMAIN"
            names.absent.note(query.name, is_there=is_there)
        asker = self._callers.asker(exchange.packet)
        for address in response.addresses:
            names.learn(address, query.name, "dns", expires, asker)

    # A resolver that an engine has in the container's namespace, such as Docker's, asks
    # those servers that whoever started the container chose.
    def _note_asking(self, packet: DnsPacket, place: Place) -> None:
        if (
            packet.netns == self._canaries.netns
            or packet.server in place.judge.resolvers
        ):
            return
        if self._is_machines is not None and self._is_machines(packet):
            why = f"what answers there asked {packet.server}, which is not trusted"
            self._places.taint(packet, why)

    # Names are learned only from a trusted resolver in the scope's first network
    # namespace: in another one, any process can answer at 127.0.0.53.
    def _doubt(self, exchange: Exchange[Caller], place: Place) -> str | None:
        packet = exchange.packet
        if exchange.query is None or exchange.response is None:
            return exchange.doubt
        why = exchange.doubt
        if packet.server not in place.judge.resolvers:
            why = "not a trusted resolver"
        elif place.is_home and packet.netns != self._canaries.netns:
            why = "another network namespace"
        elif place.taints and packet.server.is_loopback:
            why = place.taints[0]
        elif served := self._doubt_server(packet):
            why = served
        elif self._may_translate and _leaves_translated(packet):
            why = "it was sent elsewhere (NAT), as the command itself may have arranged"
        return f"the answer names nothing: {why}" if why else None

    # Its loopback addresses are a network's own: naming/dns/trust.py.
    def _doubt_server(self, packet: DnsPacket) -> str | None:
        trusted = self._places.home.judge.resolvers
        if self._servers is None or packet.server in trusted:
            return None
        return None if packet.server.is_loopback else self._servers.doubt(packet.server)


def _servers(is_machines: Callable[[DnsPacket], bool]) -> "Servers":
    from egressmon.naming.dns.servers import (  # noqa: PLC0415 -- only a sidecar's
        Servers,
    )

    return Servers(is_machines)


# By the parts alone: a record is kept by them.
def _record_of(parts: Parts) -> DnsRecord:
    response, verdict = parts.response, parts.verdict
    message = parts.query or response
    spelling = message.asked.rstrip(".") if message else None
    return DnsRecord(
        protocol=protocol_name(parts.protocol),
        resolver=str(parts.server),
        name=message.name if message else None,
        asked=spelling if message and spelling != message.name else None,
        kind=message.kind if message else None,
        status=response.status if response else None,
        answers=list(response.answers) if response else [],
        answer_count=response.answer_count if response else None,
        unread_bytes=parts.unread,
        trusted=parts.is_trusted,
        verdict=verdict.word,
        rule=verdict.rule,
        reason=verdict.reason,
        place=parts.place,
        **parts.asker.fields(),
    )


def _asked(name: str, now_ns: int, names: Names) -> Asked:
    pointed = pointed_address(name)
    return Asked(
        origins=names.aliases.origins((name,)),
        is_learned=pointed is not None and names.knows(pointed, now_ns),
    )


# A server on this machine and outside the scope (Docker's resolver) is no work of the
# scope's.
def _leaves_translated(packet: DnsPacket) -> bool:
    return bool(packet.traits & DNS_TRANSLATED) and not packet.traits & DNS_LOOPBACK
