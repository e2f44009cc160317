"""Put DNS messages together again from the packets that carried them.

Each byte becomes part of a message or of a leftover, or is counted as lost.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import TypeAlias

from egressmon.events.model import DNS_BEGIN, DNS_SHARED, DNS_URGENT, Address, DnsPacket
from egressmon.values import dataclass, field

_TCP = 6
_MAX_STREAMS = 4096
_MAX_HELD = 16 << 20  # bytes, for all streams together
_MAX_AHEAD = 64  # segments of one stream that came before their turn
_MAX_READ = 16 << 10  # bytes of a stream to compare retransmissions with
_WRAP = 1 << 32

SHARED = "their sender could change them after they were read"
_CHANGED = "other bytes were sent again in the place of what was read"
_FORGOTTEN = "bytes were sent again that cannot be compared any more"

_Key: TypeAlias = tuple[int, Address, int, int]


@dataclass(frozen=True, slots=True)
class Leftover:
    """Bytes to or from a DNS port that are part of no message."""

    packet: DnsPacket
    """The first packet of their stream or datagram."""
    size: int
    why: str
    is_lost: bool
    """Whether a part was not seen, or dropped, so that a message may be missing."""


@dataclass(slots=True)
class _Stream:
    """One direction of a TCP stream, or a datagram that comes in parts."""

    first: DnsPacket
    expected: int
    """The sequence number, or the offset, of the next byte."""
    why: str = ""
    """Why its bytes are only counted from now on; "" while they are read."""
    is_lost: bool = False
    unread: int = 0
    """How many bytes were counted and not read."""
    buffer: bytearray = field(default_factory=bytearray)
    """Bytes that were read and are in no message yet."""
    ahead: dict[int, bytes] = field(default_factory=dict[int, bytes])
    """Segments that came before their turn, by sequence number."""
    read: bytearray = field(default_factory=bytearray)
    """The last bytes that were read, to compare retransmissions with."""
    compares: bool = True
    """Whether retransmissions must be equal to what was read before."""
    is_forgetful: bool = False
    """Whether bytes were retransmitted that `read` no longer has."""

    @property
    def held(self) -> int:
        """How many bytes it keeps that are part of no message yet."""
        return len(self.buffer) + sum(map(len, self.ahead.values()))

    @property
    def kept(self) -> int:
        """How many bytes it keeps in all."""
        return self.held + len(self.read)

    def give_up(self, why: str, *, is_lost: bool = False) -> None:
        """Only count the bytes from now on, for the reason `why`; drop those kept."""
        self.unread += self.held
        self.buffer.clear()
        self.ahead.clear()
        self.read.clear()
        if not self.why:
            self.why, self.is_lost = why, is_lost

    def insert(self, packet: DnsPacket) -> None:
        """Add the bytes of `packet`, and then those that waited for them."""
        known = self.ahead.get(packet.sequence, b"")
        shorter, longer = sorted((known, packet.payload), key=len)
        if self.compares and not longer.startswith(shorter):
            self.give_up(_CHANGED)
            self.unread += len(packet.payload)
            return
        self.ahead[packet.sequence] = longer
        moved = True
        while moved and not self.why:
            moved = False
            for sequence, data in list(self.ahead.items()):
                behind = (self.expected - sequence) % _WRAP
                if behind > _WRAP // 2:
                    continue  # still ahead
                if not self._is_same(data[:behind], behind):
                    self.give_up(_CHANGED)
                    return
                del self.ahead[sequence]
                if behind < len(data):  # the first `behind` bytes are a retransmission
                    self._go_on(data[behind:])
                    moved = True

    def _go_on(self, data: bytes) -> None:
        self.buffer += data
        self.read += data
        del self.read[:-_MAX_READ]
        self.expected = (self.expected + len(data)) % _WRAP

    # A sender can change the pages of a packet before the kernel retransmits them: the
    # probes may have read other bytes than those that arrive.
    def _is_same(self, data: bytes, behind: int) -> bool:
        if not self.compares:
            return True
        unknown = min(max(behind - len(self.read), 0), len(data))
        start = len(self.read) - behind + unknown
        if unknown:
            self.is_forgetful = True
        known = data[unknown:]
        return bytes(self.read[start : start + len(known)]) == known

    def messages(self) -> Iterator[bytes]:
        """Yield, and remove, the complete messages (RFC 1035 section 4.2.2)."""
        while len(self.buffer) >= 2:
            size = int.from_bytes(self.buffer[:2], "big")
            if len(self.buffer) < 2 + size:
                break
            message = bytes(self.buffer[2 : 2 + size])
            del self.buffer[: 2 + size]
            yield message

    def leftover(self) -> Leftover | None:
        """Return the bytes that are in no message; None if there are none."""
        why = self.why or "they are no whole DNS message"
        size = self.unread + self.held
        if not size and not self.why:
            return None
        return Leftover(self.first, size, why, self.is_lost or bool(self.ahead))


class Reassembly:
    """Puts together the datagrams and TCP streams of one direction.

    Streams, bytes and segments are bounded. `broken` counts the streams and datagrams
    that were given up because of a bound, or because a part was not seen.
    """

    def __init__(self, *, compares: bool = True) -> None:
        """`compares`: retransmissions must be equal to what was read before."""
        self._compares = compares
        self._streams: OrderedDict[_Key, _Stream] = OrderedDict()
        self._held = 0
        self.broken = 0

    @property
    def open_streams(self) -> int:
        """How many streams and datagrams are remembered."""
        return len(self._streams)

    def parts(self, packet: DnsPacket) -> Iterator[bytes | Leftover]:
        """Yield the messages and leftovers that `packet` completes."""
        if packet.protocol == _TCP:
            yield from self._stream_parts(packet)
        else:
            yield from self._datagram_parts(packet)
        while len(self._streams) > _MAX_STREAMS or self._held > _MAX_HELD:
            yield from self._evict()

    def refuse(self, packet: DnsPacket, message: bytes, why: str) -> bool:
        """Only count the rest of the stream in which `packet` completed `message`.

        Returns False, and does nothing, if `packet` is a datagram.
        """
        stream = self._streams.get(_key(packet)) if packet.protocol == _TCP else None
        if stream is None:
            return False
        stream.give_up(why)
        stream.unread += 2 + len(message)
        return True

    def close(self) -> Iterator[Leftover]:
        """Yield the leftovers of all streams and datagrams, and forget them."""
        while self._streams:
            _, stream = self._streams.popitem(last=False)
            if stream.ahead:
                self.broken += 1
            if leftover := stream.leftover():
                yield leftover
        self._held = 0

    # A datagram larger than one event comes in parts, in order.
    def _datagram_parts(self, packet: DnsPacket) -> Iterator[bytes | Leftover]:
        payload = packet.payload
        if len(payload) != packet.total_size:
            whole = self._whole(packet)
            if whole is None:
                return
            payload = whole
        # UDP_SEGMENT hands several datagrams to the kernel as one packet.
        step = packet.segment_size or len(payload) or 1
        for start in range(0, len(payload), step):
            yield payload[start : start + step]

    def _whole(self, packet: DnsPacket) -> bytes | None:
        key = _key(packet)
        stream = self._streams.pop(key, None)
        if stream is not None:
            self._held -= stream.kept
        if packet.sequence == 0:
            self.broken += stream is not None
            stream = _Stream(packet, 0)
        elif stream is None or stream.expected != packet.sequence:
            self.broken += 1
            return None
        stream.buffer += packet.payload
        stream.expected += len(packet.payload)
        if stream.expected >= packet.total_size:
            return bytes(stream.buffer)
        self._streams[key] = stream
        self._held += stream.kept
        return None

    def _stream_parts(self, packet: DnsPacket) -> Iterator[bytes | Leftover]:
        key = _key(packet)
        stream = self._streams.pop(key, None)
        if stream is not None:
            self._held -= stream.kept
        if packet.traits & DNS_BEGIN and not (
            stream is not None and _repeats(stream, packet)
        ):
            leftover = stream.leftover() if stream is not None else None
            if leftover is not None:
                yield leftover
            stream = _Stream(packet, packet.sequence, compares=self._compares)
        elif stream is None:
            stream = _Stream(packet, packet.sequence, compares=self._compares)
            why = "the beginning of their stream was not seen"
            stream.give_up(why, is_lost=True)
            self.broken += 1
        self._streams[key] = stream
        yield from self._read(stream, packet)
        self._held += stream.kept

    def _read(self, stream: _Stream, packet: DnsPacket) -> Iterator[bytes]:
        if packet.traits & DNS_URGENT:
            stream.give_up("urgent data are among them: what is read may differ")
        if packet.traits & DNS_SHARED:
            stream.give_up(SHARED)
        if stream.why:
            stream.unread += len(packet.payload)
            return
        stream.insert(packet)
        if stream.is_forgetful and not stream.why:
            self.broken += 1
            stream.give_up(_FORGOTTEN, is_lost=True)
        yield from stream.messages()
        if len(stream.ahead) > _MAX_AHEAD:
            self.broken += 1
            stream.give_up("a part of their stream was not seen", is_lost=True)

    def _evict(self) -> Iterator[Leftover]:
        _, stream = self._streams.popitem(last=False)
        self._held -= stream.kept
        if not stream.held and not stream.why:
            return  # nothing is lost: it is between two messages, or has ended
        self.broken += 1
        if leftover := stream.leftover():
            yield leftover


# Whether `packet` is the first packet again, and not a new connection of the same
# socket.
def _repeats(stream: _Stream, packet: DnsPacket) -> bool:
    return stream.first.sequence == packet.sequence


def _key(packet: DnsPacket) -> _Key:
    return packet.cookie, packet.server, packet.client_port, packet.protocol
