"""Put DNS messages together again from the packets that carried them."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from egressmon.events import FLAG_INGRESS, DnsPacket

_TCP = 6
_MAX_STREAMS = 4096
_MAX_BUFFER = 1 << 17  # two messages of the greatest length (RFC 1035 section 4.2.2)
_MAX_AHEAD = 64  # segments kept that came too early
_WRAP = 1 << 32


@dataclass(slots=True)
class _Stream:
    expected: int
    buffer: bytearray = field(default_factory=bytearray)
    ahead: dict[int, bytes] = field(default_factory=dict[int, bytes])


class Reassembly:
    """Yields whole messages of UDP datagrams (also segmented ones) and TCP streams.

    Bounded in streams, bytes and segments; `broken` counts what was given up.
    """

    def __init__(self) -> None:
        self._streams: OrderedDict[tuple[int, int], _Stream] = OrderedDict()
        self.broken = 0

    @property
    def open_streams(self) -> int:
        """How many streams and datagrams are not whole yet."""
        return len(self._streams)

    def messages(self, packet: DnsPacket) -> Iterator[bytes]:
        """Yield each message that packet completes."""
        if packet.protocol == _TCP:
            yield from self._stream_messages(packet)
            return
        payload = self._whole_datagram(packet)
        if payload is None:
            return
        # UDP_SEGMENT hands several datagrams to the kernel as one packet.
        step = packet.segment_size or len(payload) or 1
        for start in range(0, len(payload), step):
            yield payload[start : start + step]

    # A datagram over the capture's size comes in parts, one behind the other.
    def _whole_datagram(self, packet: DnsPacket) -> bytes | None:
        if len(packet.payload) == packet.total_size:
            return packet.payload
        key = _key(packet)
        if packet.sequence == 0:
            self._remember(key, _Stream(0))
        stream = self._streams.get(key)
        if stream is None or stream.expected != packet.sequence:
            self._give_up(key)
            return None
        stream.buffer += packet.payload
        stream.expected += len(packet.payload)
        if stream.expected < packet.total_size:
            return None
        del self._streams[key]
        return bytes(stream.buffer)

    def _stream_messages(self, packet: DnsPacket) -> Iterator[bytes]:
        key = _key(packet)
        stream = self._streams.get(key)
        if stream is None:
            stream = _Stream(packet.sequence)
            self._remember(key, stream)
        if not self._insert(stream, packet):
            self._give_up(key)
            return
        while len(stream.buffer) >= 2:
            size = int.from_bytes(stream.buffer[:2], "big")
            if len(stream.buffer) < 2 + size:
                break
            yield bytes(stream.buffer[2 : 2 + size])
            del stream.buffer[: 2 + size]

    def _insert(self, stream: _Stream, packet: DnsPacket) -> bool:
        stream.ahead[packet.sequence] = packet.payload
        moved = True
        while moved:
            moved = False
            for sequence, data in list(stream.ahead.items()):
                behind = (stream.expected - sequence) % _WRAP
                if behind > _WRAP // 2:
                    continue  # still ahead
                del stream.ahead[sequence]
                if behind < len(data):  # the rest was seen before: retransmitted
                    stream.buffer += data[behind:]
                    stream.expected = (sequence + len(data)) % _WRAP
                    moved = True
        return len(stream.buffer) <= _MAX_BUFFER and len(stream.ahead) <= _MAX_AHEAD

    def _remember(self, key: tuple[int, int], stream: _Stream) -> None:
        self._streams[key] = stream
        if len(self._streams) > _MAX_STREAMS:
            _, dropped = self._streams.popitem(last=False)
            if dropped.buffer or dropped.ahead:
                self.broken += 1

    def _give_up(self, key: tuple[int, int]) -> None:
        self._streams.pop(key, None)
        self.broken += 1


def _key(packet: DnsPacket) -> tuple[int, int]:
    return packet.cookie, packet.flags & FLAG_INGRESS
