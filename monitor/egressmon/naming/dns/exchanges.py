"""Follow DNS conversations: which process asked whom for what, and what came back."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Generic, TypeAlias, TypeVar

from egressmon.events.model import (
    DNS_RAW,
    DNS_SCOPE_ANSWERS,
    DNS_SHARED,
    FLAG_INGRESS,
    DnsPacket,
)
from egressmon.naming.dns.message import Message, MessageError, read_message
from egressmon.naming.dns.stream import SHARED, Reassembly, Rest
from egressmon.naming.dns.trust import Answerers

_MAX_OPEN = 8192
_UDP = 17
_RAW = "a raw socket sent it: whether and as what it arrives is not known"
_BESIDE = "it carries more than its question"

Asker = TypeVar("Asker")
_Key: TypeAlias = tuple[int, object, int, str, str]


@dataclass(frozen=True, slots=True)
class Exchange(Generic[Asker]):
    """A query with its response, or one of them alone with the reason."""

    packet: DnsPacket
    """The packet that began it: the process and the resolver are there."""
    asker: Asker
    """Who sent that packet, as it was found out then."""
    query: Message | None
    response: Message | None
    ended_ns: int
    doubt: str | None = None
    """What is missing, or why the response names nothing; None: it is believed."""
    violation: str | None = None
    """Why it violates any policy."""
    unread: int = 0
    """How many bytes were sent that are in no message."""


@dataclass(slots=True)
class _Open(Generic[Asker]):
    packet: DnsPacket
    asker: Asker
    query: Message
    digest: bytes


class DnsWatch(Generic[Asker]):
    """Pairs queries with responses.

    A response is believed only when the same socket asked the same server that
    very question before, and the scope could not have answered it: anybody can send
    a datagram to an open port.
    """

    def __init__(self, who_asks: Callable[[DnsPacket], Asker]) -> None:
        """Call `who_asks` for each packet that begins something, as it comes."""
        self._who_asks = who_asks
        self._sent = Reassembly()
        self._received = Reassembly(compares=False)
        self._answerers = Answerers()
        self._open: OrderedDict[_Key, _Open[Asker]] = OrderedDict()
        self._evicted = 0
        self.malformed = 0
        """Messages that could not be read."""

    @property
    def broken(self) -> int:
        """What was sent and could not be followed: it may have been anything."""
        return self._sent.broken + self._evicted

    @property
    def unread(self) -> int:
        """Streams and datagrams that came and could not be put together."""
        return self._received.broken

    def feed(self, packet: DnsPacket) -> Iterator[Exchange[Asker]]:
        """Yield the exchanges that `packet` ends."""
        if packet.traits & DNS_SCOPE_ANSWERS:
            self._answerers.add(packet)
        elif packet.flags & FLAG_INGRESS:
            yield from self._came(packet)
        elif packet.traits & DNS_RAW:
            yield self._unsure(packet, _RAW)
        elif packet.traits & DNS_SHARED and packet.protocol == _UDP:
            yield self._unsure(packet, f"{len(packet.payload)} bytes: {SHARED}")
        else:
            yield from self._went(packet)

    def close(self, now_ns: int) -> Iterator[Exchange[Asker]]:
        """Yield the queries that nobody answered, and what was left unread."""
        for rest in self._sent.close():
            yield from self._rest(rest, now_ns)
        while self._open:
            _, one = self._open.popitem(last=False)
            yield _unanswered(one, now_ns, "no answer was seen")

    def _went(self, packet: DnsPacket) -> Iterator[Exchange[Asker]]:
        for part in self._sent.parts(packet):
            if isinstance(part, Rest):
                yield from self._rest(part, packet.ktime_ns)
                continue
            try:
                message = read_message(part)
            except MessageError as error:
                self.malformed += 1
                why = f"unreadable message: {error}"
                if not self._sent.refuse(packet, part, why):
                    yield self._odd(packet, why, len(part))
                continue
            yield from self._asked(packet, message, part)

    def _came(self, packet: DnsPacket) -> Iterator[Exchange[Asker]]:
        for part in self._received.parts(packet):
            if isinstance(part, Rest):
                continue  # it names nothing, and nothing left by it
            try:
                yield self._answered(packet, read_message(part))
            except MessageError as error:
                self.malformed += 1
                why = f"unreadable message: {error}"
                self._received.refuse(packet, part, why)

    def _odd(self, packet: DnsPacket, why: str, unread: int = 0) -> Exchange[Asker]:
        return Exchange(
            packet,
            self._who_asks(packet),
            None,
            None,
            packet.ktime_ns,
            why,
            why,
            unread,
        )

    # Bytes that the probes lost a part of are a loss, and no violation.
    def _rest(self, rest: Rest, now_ns: int) -> Iterator[Exchange[Asker]]:
        if not rest.is_lost:
            why = f"{rest.size} bytes to a DNS port: {rest.why}"
            yield replace(self._odd(rest.packet, why, rest.size), ended_ns=now_ns)

    # Who makes the headers himself decides what arrives, and not what stands there.
    # Nor is what the sender can write to until it leaves.
    def _unsure(self, packet: DnsPacket, why: str) -> Exchange[Asker]:
        odd = self._odd(packet, why, len(packet.payload))
        if packet.protocol != _UDP:
            return odd
        try:
            return replace(odd, query=read_message(packet.payload))
        except MessageError:
            return odd

    def _asked(
        self, packet: DnsPacket, message: Message, data: bytes
    ) -> Iterator[Exchange[Asker]]:
        key = _key(packet, message)
        digest = blake2b(data, digest_size=16).digest()
        known = self._open.get(key)
        if known is not None and known.digest == digest:
            return  # a retry
        asker = self._who_asks(packet)
        if message.is_response:
            why = "a response was sent: the process acts as a DNS server"
            yield Exchange(
                packet, asker, None, message, packet.ktime_ns, why, why, len(data)
            )
            return
        if known is not None:
            why = "the question was asked again, and not in the same bytes"
            yield _unanswered(self._open.pop(key), packet.ktime_ns, why)
        self._open[key] = _Open(packet, asker, message, digest)
        if len(self._open) > _MAX_OPEN:
            self._evicted += 1
            _, one = self._open.popitem(last=False)
            why = "too many questions were open: its answer was not waited for"
            yield _unanswered(one, packet.ktime_ns, why)

    def _answered(self, packet: DnsPacket, message: Message) -> Exchange[Asker]:
        now = packet.ktime_ns
        if not message.is_response:
            why = "a query came from a DNS port"
            return Exchange(packet, self._who_asks(packet), message, None, now, why)
        asked = self._open.pop(_key(packet, message), None)
        if asked is None:
            why = "this socket did not ask that server this question"
            return Exchange(packet, self._who_asks(packet), None, message, now, why)
        return Exchange(
            asked.packet,
            asked.asker,
            asked.query,
            message,
            now,
            self._answerers.doubt(asked.packet, packet),
            _beside(asked.query),
        )


def _unanswered(one: _Open[Asker], now_ns: int, why: str) -> Exchange[Asker]:
    return Exchange(
        one.packet, one.asker, one.query, None, now_ns, why, _beside(one.query)
    )


def _beside(query: Message) -> str | None:
    return f"{_BESIDE}: {query.beside}" if query.beside else None


def _key(packet: DnsPacket, message: Message) -> _Key:
    return (
        packet.cookie, packet.server, message.identifier, message.name, message.kind
    )  # fmt: skip
