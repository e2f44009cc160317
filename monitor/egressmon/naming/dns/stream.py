"""Put DNS messages together again from the packets that carried them.

Every byte comes out again, in a message or as part of a rest, or is counted as lost.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from egressmon.events.model import DNS_BEGIN, DNS_SHARED, DNS_URGENT, Address, DnsPacket

_TCP = 6
_MAX_STREAMS = 4096
_MAX_HELD = 16 << 20  # bytes of all streams
_MAX_AHEAD = 64  # segments kept that came too early
_MAX_READ = 16 << 10  # bytes of a stream kept to compare what is sent again
_WRAP = 1 << 32

SHARED = "their sender could change them after they were read"
_CHANGED = "other bytes were sent again in the place of what was read"
_FORGOTTEN = "bytes were sent again that cannot be compared any more"

_Key: TypeAlias = tuple[int, Address, int, int]


@dataclass(frozen=True, slots=True)
class Rest:
    """Bytes to or from a DNS port that are in no message."""

    packet: DnsPacket
    """The packet that began what they belong to."""
    size: int
    why: str
    is_lost: bool
    """Whether the probes or this module lost a part, whatever the bytes were."""


@dataclass(slots=True)
class _Stream:
    first: DnsPacket
    expected: int
    why: str = ""
    """Why its bytes are only counted; empty: they are read."""
    is_lost: bool = False
    unread: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    ahead: dict[int, bytes] = field(default_factory=dict[int, bytes])
    read: bytearray = field(default_factory=bytearray)
    """The last bytes before those expected, also of messages that are whole."""
    compares: bool = True
    is_forgetful: bool = False
    """Whether bytes were sent again that `read` did not reach back to."""

    @property
    def held(self) -> int:
        """How many bytes it keeps that are in no message yet."""
        return len(self.buffer) + sum(map(len, self.ahead.values()))

    @property
    def kept(self) -> int:
        """How many bytes it keeps."""
        return self.held + len(self.read)

    def give_up(self, why: str, *, is_lost: bool = False) -> None:
        """Count its bytes from now on, and those that it keeps."""
        self.unread += self.held
        self.buffer.clear()
        self.ahead.clear()
        self.read.clear()
        if not self.why:
            self.why, self.is_lost = why, is_lost

    def insert(self, packet: DnsPacket) -> None:
        """Add what `packet` carries, and what came before its turn."""
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
                if behind < len(data):  # the rest was seen before: retransmitted
                    self._go_on(data[behind:])
                    moved = True

    def _go_on(self, data: bytes) -> None:
        self.buffer += data
        self.read += data
        del self.read[:-_MAX_READ]
        self.expected = (self.expected + len(data)) % _WRAP

    # The pages of a packet may have been changed before they are sent again.
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
        """Yield the messages that are whole (RFC 1035 section 4.2.2)."""
        while len(self.buffer) >= 2:
            size = int.from_bytes(self.buffer[:2], "big")
            if len(self.buffer) < 2 + size:
                break
            message = bytes(self.buffer[2 : 2 + size])
            del self.buffer[: 2 + size]
            yield message

    def rest(self) -> Rest | None:
        """Return what is left of it, if anything is."""
        why = self.why or "they are no whole DNS message"
        size = self.unread + self.held
        if not size and not self.why:
            return None
        return Rest(self.first, size, why, self.is_lost or bool(self.ahead))


class Reassembly:
    """The datagrams (also segmented ones) and TCP streams of one direction.

    Bounded in streams, bytes and segments. `broken` counts the streams and datagrams
    that were given up for a bound, or because a part of them was not seen.
    """

    def __init__(self, *, compares: bool = True) -> None:
        """`compares`: what is sent again must be what was read."""
        self._compares = compares
        self._streams: OrderedDict[_Key, _Stream] = OrderedDict()
        self._held = 0
        self.broken = 0

    @property
    def open_streams(self) -> int:
        """How many streams and datagrams are remembered."""
        return len(self._streams)

    def parts(self, packet: DnsPacket) -> Iterator[bytes | Rest]:
        """Yield each message that `packet` completes, and each rest that it ends."""
        if packet.protocol == _TCP:
            yield from self._stream_parts(packet)
        else:
            yield from self._datagram_parts(packet)
        while len(self._streams) > _MAX_STREAMS or self._held > _MAX_HELD:
            yield from self._evict()

    def refuse(self, packet: DnsPacket, message: bytes, why: str) -> bool:
        """Read no more of the stream in which `packet` brought `message`.

        Returns False where it is a datagram, which stands for itself.
        """
        stream = self._streams.get(_key(packet)) if packet.protocol == _TCP else None
        if stream is None:
            return False
        stream.give_up(why)
        stream.unread += 2 + len(message)
        return True

    def close(self) -> Iterator[Rest]:
        """Yield what is left of everything."""
        while self._streams:
            _, stream = self._streams.popitem(last=False)
            if stream.ahead:
                self.broken += 1
            if rest := stream.rest():
                yield rest
        self._held = 0

    # A datagram over the capture's size comes in parts, one behind the other.
    def _datagram_parts(self, packet: DnsPacket) -> Iterator[bytes | Rest]:
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

    def _stream_parts(self, packet: DnsPacket) -> Iterator[bytes | Rest]:
        key = _key(packet)
        stream = self._streams.pop(key, None)
        if stream is not None:
            self._held -= stream.kept
        if packet.traits & DNS_BEGIN and not (
            stream is not None and _repeats(stream, packet)
        ):
            rest = stream.rest() if stream is not None else None
            if rest is not None:
                yield rest
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

    def _evict(self) -> Iterator[Rest]:
        _, stream = self._streams.popitem(last=False)
        self._held -= stream.kept
        if not stream.held and not stream.why:
            return  # it ended, or it can go on only to be counted
        self.broken += 1
        if rest := stream.rest():
            yield rest


# The first packet again, and no other connection of the same socket.
def _repeats(stream: _Stream, packet: DnsPacket) -> bool:
    return stream.first.sequence == packet.sequence


def _key(packet: DnsPacket) -> _Key:
    return packet.cookie, packet.server, packet.client_port, packet.protocol
