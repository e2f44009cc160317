"""Follow DNS conversations: which process asked whom for what, and what came back."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from egressmon.dns_stream import Reassembly
from egressmon.events import FLAG_INGRESS, Address, DnsPacket

if TYPE_CHECKING:
    from egressmon.dns_message import Message

_MAX_OPEN = 8192


@dataclass(frozen=True, slots=True)
class Exchange:
    """A query with its response, or one of them alone with the reason."""

    packet: DnsPacket
    """The packet that began it: the process and the resolver are there."""
    query: "Message | None"
    response: "Message | None"
    trusted: bool
    """Whether the response answers this socket's own query, from where it went."""
    reason: str | None
    """What is missing, or why the response is not trusted."""
    ended_ns: int


@dataclass(frozen=True, slots=True)
class _Key:
    cookie: int
    server: Address
    identifier: int
    name: str
    kind: str


class DnsWatch:
    """Pairs queries with responses.

    A response is believed only when the same socket asked the same server that
    very question before; anybody can send a datagram to an open port.
    """

    def __init__(self) -> None:
        self._reassembly = Reassembly()
        self._open: OrderedDict[_Key, tuple[DnsPacket, Message]] = OrderedDict()
        self.malformed = 0
        """Messages that could not be read."""

    @property
    def broken(self) -> int:
        """Streams and datagrams that could not be put together."""
        return self._reassembly.broken

    def feed(self, packet: DnsPacket) -> Iterator[Exchange]:
        """Yield the exchanges that packet ends."""
        # dnspython takes 40 ms to import: at the first DNS packet, not before
        # the command starts.
        from egressmon.dns_message import MessageError, read_message  # noqa: PLC0415

        for data in self._reassembly.messages(packet):
            try:
                message = read_message(data)
            except MessageError as error:
                self.malformed += 1
                why = f"unreadable message: {error}"
                yield Exchange(packet, None, None, False, why, packet.ktime_ns)
                continue
            if packet.flags & FLAG_INGRESS:
                yield self._answered(packet, message)
            else:
                yield from self._asked(packet, message)

    def _asked(self, packet: DnsPacket, message: "Message") -> Iterator[Exchange]:
        if message.is_response:
            why = "a response was sent: the process acts as a DNS server"
            yield Exchange(packet, None, message, False, why, packet.ktime_ns)
            return
        key = _key(packet, message)
        if key in self._open:
            return  # the same question again: a retry
        self._open[key] = (packet, message)
        if len(self._open) > _MAX_OPEN:
            _, (old, query) = self._open.popitem(last=False)
            yield _unanswered(old, query, packet.ktime_ns)

    def _answered(self, packet: DnsPacket, message: "Message") -> Exchange:
        if not message.is_response:
            why = "a query came from a DNS port"
            return Exchange(packet, message, None, False, why, packet.ktime_ns)
        asked = self._open.pop(_key(packet, message), None)
        if asked is None:
            why = "this socket did not ask that server this question"
            return Exchange(packet, None, message, False, why, packet.ktime_ns)
        return Exchange(asked[0], asked[1], message, True, None, packet.ktime_ns)

    def close(self, now_ns: int) -> Iterator[Exchange]:
        """Yield the queries that nobody answered."""
        while self._open:
            _, (packet, query) = self._open.popitem(last=False)
            yield _unanswered(packet, query, now_ns)


def _unanswered(packet: DnsPacket, query: "Message", now_ns: int) -> Exchange:
    return Exchange(packet, query, None, False, "no answer was seen", now_ns)


def _key(packet: DnsPacket, message: "Message") -> _Key:
    return _Key(
        packet.cookie, packet.server, message.identifier, message.name, message.kind
    )
