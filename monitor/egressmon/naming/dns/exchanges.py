"""Pair DNS queries with their responses, and doubt what does not fit."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Generic, TypeAlias, TypeVar

from egressmon.events.model import (
    DNS_RAW,
    DNS_SCOPE_ANSWERS,
    DNS_SHARED,
    FLAG_INGRESS,
    DnsPacket,
)
from egressmon.naming.dns.message import (
    Message,
    MessageError,
    identifier_of,
    read_message,
)
from egressmon.naming.dns.stream import SHARED, Leftover, Reassembly
from egressmon.naming.dns.trust import Answerers
from egressmon.values import dataclass, replace

_MAX_OPEN = 8192
_PATIENCE_NS = 120 * 1_000_000_000
_UDP = 17
_RAW = "a raw socket sent it: whether and as what it arrives is not known"
_EXTRAS = "it carries more than its question"

Asker = TypeVar("Asker")
_Key: TypeAlias = tuple[int, object, bytes, str, str]


@dataclass(frozen=True, slots=True)
class Exchange(Generic[Asker]):
    """A query and its response, or only one of them, or none, with the reason."""

    packet: DnsPacket
    """The packet that began it, with its process and the resolver."""
    asker: Asker
    """Who sent that packet, looked up as it came."""
    query: Message | None
    response: Message | None
    ended_ns: int
    doubt: str | None = None
    """Why no names are learned from it; None if the response is believed."""
    violation: str | None = None
    """Why it is a violation under any policy; None if it is not."""
    unread: int = 0
    """How many bytes were sent that are part of no message."""


@dataclass(slots=True)
class _Open(Generic[Asker]):
    """A query that waits for its response."""

    packet: DnsPacket
    asker: Asker
    query: Message
    digest: bytes


class DnsWatch(Generic[Asker]):
    """Pairs queries with responses.

    Anybody can send a datagram to an open port. So a response is believed only if the
    same socket asked the same server that question before, and if the scope cannot
    have sent the response itself.
    """

    def __init__(
        self,
        who_asks: Callable[[DnsPacket], Asker],
        read: Callable[[bytes], Message] = read_message,
        is_trusted: Callable[[DnsPacket], bool] | None = None,
    ) -> None:
        """`who_asks` looks up who sent a packet; it is called as the packet comes.

        `read` does what `read_message` does, and `is_trusted` is for `Answerers`.
        """
        self._who_asks = who_asks
        self._read = read
        self._sent = Reassembly()
        self._received = Reassembly(compares=False)
        self._answerers = Answerers(is_trusted)
        self._open: OrderedDict[_Key, _Open[Asker]] = OrderedDict()
        self._evicted = 0
        self.malformed = 0
        """Messages that could not be read."""

    @property
    def broken(self) -> int:
        """How often sent bytes could not be followed: they may have been anything."""
        return self._sent.broken + self._evicted

    @property
    def unread(self) -> int:
        """How many received streams and datagrams could not be put together."""
        return self._received.broken

    def feed(self, packet: DnsPacket) -> Iterator[Exchange[Asker]]:
        """Yield the exchanges that `packet` completes."""
        if packet.traits & DNS_SCOPE_ANSWERS:
            self._answerers.add(packet)
        elif packet.flags & FLAG_INGRESS:
            yield from self._on_received(packet)
        elif packet.traits & DNS_RAW:
            yield self._on_untrustworthy(packet, _RAW)
        elif packet.traits & DNS_SHARED and packet.protocol == _UDP:
            yield self._on_untrustworthy(
                packet, f"{len(packet.payload)} bytes: {SHARED}"
            )
        else:
            yield from self._on_sent(packet)

    def expire(self, now_ns: int) -> Iterator[Exchange[Asker]]:
        """Yield the queries that have waited for an answer for two minutes.

        No resolver of a program's waits for so long. `now_ns` is kernel time.
        """
        while self._open:
            key, oldest = next(iter(self._open.items()))
            if now_ns - oldest.packet.ktime_ns < _PATIENCE_NS:
                return
            del self._open[key]
            yield _unanswered(oldest, now_ns, "no answer was seen")

    def close(self, now_ns: int) -> Iterator[Exchange[Asker]]:
        """Yield the queries without an answer, and the bytes that are in no message."""
        for leftover in self._sent.close():
            yield from self._on_leftover(leftover, now_ns)
        while self._open:
            _, one = self._open.popitem(last=False)
            yield _unanswered(one, now_ns, "no answer was seen")

    def _on_sent(self, packet: DnsPacket) -> Iterator[Exchange[Asker]]:
        for part in self._sent.parts(packet):
            if isinstance(part, Leftover):
                yield from self._on_leftover(part, packet.ktime_ns)
                continue
            try:
                message = self._read(part)
            except MessageError as error:
                self.malformed += 1
                why = f"unreadable message: {error}"
                if not self._sent.refuse(packet, part, why):
                    yield self._violation(packet, why, len(part))
                continue
            yield from self._on_query(packet, message, part)

    def _on_received(self, packet: DnsPacket) -> Iterator[Exchange[Asker]]:
        for part in self._received.parts(packet):
            if isinstance(part, Leftover):
                continue  # received bytes that name nothing need no record
            try:
                yield self._on_response(packet, self._read(part), part)
            except MessageError as error:
                self.malformed += 1
                why = f"unreadable message: {error}"
                self._received.refuse(packet, part, why)

    def _violation(
        self, packet: DnsPacket, why: str, unread: int = 0
    ) -> Exchange[Asker]:
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

    # If a part was lost, that is counted as a loss; it does not prove a violation.
    def _on_leftover(
        self, leftover: Leftover, now_ns: int
    ) -> Iterator[Exchange[Asker]]:
        if not leftover.is_lost:
            why = f"{leftover.size} bytes to a DNS port: {leftover.why}"
            yield replace(
                self._violation(leftover.packet, why, leftover.size), ended_ns=now_ns
            )

    # What arrives may differ from what was read: a raw socket writes its own headers,
    # and a sender can change pages that it shares with the packet until they leave.
    def _on_untrustworthy(self, packet: DnsPacket, why: str) -> Exchange[Asker]:
        violation = self._violation(packet, why, len(packet.payload))
        if packet.protocol != _UDP:
            return violation
        try:
            return replace(violation, query=self._read(packet.payload))
        except MessageError:
            return violation

    def _on_query(
        self, packet: DnsPacket, message: Message, data: bytes
    ) -> Iterator[Exchange[Asker]]:
        key = _key(packet, message, data)
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

    def _on_response(
        self, packet: DnsPacket, message: Message, data: bytes
    ) -> Exchange[Asker]:
        now = packet.ktime_ns
        if not message.is_response:
            why = "a query came from a DNS port"
            return Exchange(packet, self._who_asks(packet), message, None, now, why)
        asked = self._open.pop(_key(packet, message, data), None)
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
            _extras(asked.query),
        )


def _unanswered(one: _Open[Asker], now_ns: int, why: str) -> Exchange[Asker]:
    return Exchange(
        one.packet, one.asker, one.query, None, now_ns, why, _extras(one.query)
    )


def _extras(query: Message) -> str | None:
    return f"{_EXTRAS}: {query.extras}" if query.extras else None


def _key(packet: DnsPacket, message: Message, data: bytes) -> _Key:
    return (
        packet.cookie, packet.server, identifier_of(data), message.name, message.kind
    )  # fmt: skip
