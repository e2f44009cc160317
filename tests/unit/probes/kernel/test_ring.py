"""Reading ring buffers, in memory that is laid out as the kernel does it."""

import mmap
import os
import struct
from collections.abc import Generator

import pytest

from egressmon.probes.kernel.ring import Ring, Rings

SIZE = 4096
BUSY, DISCARDED = 1 << 31, 1 << 30


class Producer:
    """Writes records as the kernel does: consumer's page, producers' page, data."""

    def __init__(self) -> None:
        page = mmap.PAGESIZE
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * page + 2 * SIZE)
        self.memory = mmap.mmap(self.fd, 0)
        self.at = 0

    @property
    def consumed(self) -> int:
        (position,) = struct.unpack_from("=Q", self.memory, 0)
        return int(position)

    def put(self, payload: bytes, flags: int = 0) -> int:
        """Add a record and return the offset of its header."""
        begun = self.at
        header = struct.pack("=II", len(payload) | flags, 0)
        for place, byte in enumerate(header + payload):
            where = (begun + place) % SIZE
            for copy in (0, SIZE):  # the kernel maps the data twice
                self.memory[2 * mmap.PAGESIZE + copy + where] = byte
        self.at += (len(payload) + 8 + 7) // 8 * 8
        struct.pack_into("=Q", self.memory, mmap.PAGESIZE, self.at)
        return begun

    def commit(self, begun: int, size: int) -> None:
        for copy in (0, SIZE):
            where = 2 * mmap.PAGESIZE + copy + begun % SIZE
            struct.pack_into("=I", self.memory, where, size)


@pytest.fixture
def producer() -> Generator[Producer]:
    made = Producer()
    yield made
    made.memory.close()
    os.close(made.fd)


@pytest.fixture
def ring(producer: Producer) -> Generator[Ring]:
    made = Ring(producer.fd, SIZE)
    yield made
    made.close()


def test_records_come_in_order_and_their_room_is_freed(
    producer: Producer, ring: Ring
) -> None:
    producer.put(b"one")
    producer.put(b"two, longer")

    assert ring.read(10, SIZE) == [b"one", b"two, longer"]
    assert producer.consumed == producer.at
    assert ring.read(10, SIZE) == []


def test_a_batch_is_bounded(producer: Producer, ring: Ring) -> None:
    for number in range(5):
        producer.put(bytes([number]))

    assert ring.read(3, SIZE) == [b"\0", b"\1", b"\2"]
    assert ring.read(3, SIZE) == [b"\3", b"\4"]


def test_a_record_that_is_being_written_holds_back_what_follows(
    producer: Producer, ring: Ring
) -> None:
    producer.put(b"done")
    begun = producer.put(b"slow", BUSY)
    producer.put(b"after")

    assert ring.read(10, SIZE) == [b"done"]
    assert producer.consumed == begun
    producer.commit(begun, 4)
    assert ring.read(10, SIZE) == [b"slow", b"after"]


def test_what_was_given_up_is_stepped_over(producer: Producer, ring: Ring) -> None:
    producer.put(b"given up", DISCARDED)
    producer.put(b"kept")

    # A batch of discarded records alone is not taken for an empty ring.
    assert ring.read(1, SIZE) == [b"kept"]
    assert producer.consumed == producer.at


def test_records_survive_the_end_of_the_ring(producer: Producer, ring: Ring) -> None:
    for number in range(200):
        payload = bytes([number]) * (number % 90)
        producer.put(payload)
        assert ring.read(10, SIZE) == [payload]
    assert producer.at > 2 * SIZE


def test_a_header_at_the_very_end_of_the_ring_is_read(
    producer: Producer, ring: Ring
) -> None:
    producer.put(bytes(SIZE - 16))
    assert len(ring.read(10, SIZE)[0]) == SIZE - 16

    producer.put(b"behind its header, at the beginning")

    assert ring.read(10, SIZE) == [b"behind its header, at the beginning"]


def timed(time_ns: int, text: bytes = b"") -> bytes:
    return struct.pack("=Q", time_ns) + text


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[list[Producer], Rings]]:
    # These rings are files in memory, which cannot be polled, unlike maps.
    monkeypatch.setattr("select.epoll", Poller)
    made = [Producer(), Producer()]
    rings = Rings([Ring(one.fd, SIZE) for one in made])
    yield made, rings
    rings.close()
    for one in made:
        one.memory.close()
        os.close(one.fd)


class Poller:
    """Stands in for epoll, and polls nothing."""

    def register(self, fd: int, events: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


Pair = tuple[list[Producer], Rings]


def test_several_rings_come_in_one_order(pair: Pair) -> None:
    (first, second), rings = pair
    for time_ns in (1, 4, 5):
        first.put(timed(time_ns))
    for time_ns in (2, 3, 6):
        second.put(timed(time_ns))

    assert rings.read(10, SIZE) == [timed(time_ns) for time_ns in range(1, 7)]
    assert rings.read(10, SIZE) == []


def test_of_one_time_the_first_ring_is_first(pair: Pair) -> None:
    (first, second), rings = pair
    second.put(timed(1, b"connect"))
    first.put(timed(1, b"fork"))

    assert rings.read(10, SIZE) == [timed(1, b"fork"), timed(1, b"connect")]


# A record that is being written has its time already, and may be older than the other.
def test_a_record_that_is_being_written_holds_back_the_other_rings(pair: Pair) -> None:
    (first, second), rings = pair
    begun = first.put(timed(1), BUSY)
    second.put(timed(2))

    assert rings.read(10, SIZE) == []
    first.commit(begun, 8)
    assert rings.read(10, SIZE) == [timed(1), timed(2)]


def test_a_full_ring_holds_nothing_of_another_up_for_good(pair: Pair) -> None:
    (first, second), rings = pair
    for time_ns in range(100):
        first.put(timed(time_ns))
    second.put(timed(50, b"between"))

    found = [data for _ in range(20) for data in rings.read(10, SIZE)]

    assert len(found) == 101
    assert found.index(timed(50, b"between")) == 51
    assert not rings.is_cut


def test_an_event_that_comes_between_two_looks_keeps_its_place(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second), rings = pair
    looked = Ring.read

    def late(ring: Ring, limit: int, room: int) -> list[bytes]:
        found = looked(ring, limit, room)
        if second.at == 0:  # the first ring was read, the second is about to be
            first.put(timed(1, b"exec"))
            second.put(timed(2, b"connect"))
        return found

    monkeypatch.setattr(Ring, "read", late)

    assert rings.read(10, SIZE) == [timed(1, b"exec"), timed(2, b"connect")]


# A later record has an earlier time if it is about an earlier moment, or if a program
# on another CPU overtook it.
def test_an_older_time_at_the_end_holds_nothing_back_for_good(pair: Pair) -> None:
    (first, second), rings = pair
    first.put(timed(9, b"younger"))
    second.put(timed(8))
    first.put(timed(3, b"older"))

    assert rings.read(10, SIZE) == [
        timed(3, b"older"),
        timed(8),
        timed(9, b"younger"),
    ]


def test_what_was_read_and_not_marked_is_read_again(producer: Producer) -> None:
    first = Ring(producer.fd, SIZE)
    for payload in (b"one", b"two", b"three"):
        producer.put(payload)
    first.read(1, SIZE)
    first.mark(first.position)
    assert first.read(9, SIZE) == [b"two", b"three"]
    producer.put(b"four")
    first.close()
    second = Ring(producer.fd, SIZE)

    assert second.waiting() == 1
    assert second.go_back() == 2
    assert second.read(9, SIZE) == [b"two", b"three", b"four"]
    second.close()


def test_what_is_all_marked_is_not_read_again(producer: Producer) -> None:
    first = Ring(producer.fd, SIZE)
    producer.put(b"one")
    first.read(9, SIZE)
    first.mark(first.position)
    first.close()
    second = Ring(producer.fd, SIZE)

    assert second.go_back() == 0
    assert second.read(9, SIZE) == []
    second.close()


def test_what_is_overwritten_is_not_read_again(producer: Producer) -> None:
    first = Ring(producer.fd, SIZE)
    producer.put(b"one")
    first.read(9, SIZE)
    for number in range(SIZE // 16):
        producer.put(b"%8d" % number)
    first.close()
    second = Ring(producer.fd, SIZE)

    assert second.go_back() is None
    assert second.waiting() == SIZE // 16
    assert second.read(1, SIZE) == [b"%8d" % 0]
    second.close()


@pytest.mark.parametrize("mark", [4, 1 << 40, 2**64 - 8])
def test_a_mark_that_is_none_is_not_believed(producer: Producer, mark: int) -> None:
    producer.put(b"one")
    first = Ring(producer.fd, SIZE)
    first.read(9, SIZE)
    first.close()
    struct.pack_into("=Q", producer.memory, 8, mark)
    second = Ring(producer.fd, SIZE)

    assert second.go_back() is None
    assert second.read(9, SIZE) == []
    second.close()


def test_only_what_was_returned_is_taken(pair: Pair) -> None:
    (first, second), rings = pair
    first.put(timed(1))
    second.put(timed(2))
    behind = second.put(timed(3), BUSY)
    first.put(timed(4))

    assert rings.read(10, SIZE) == [timed(1), timed(2)]
    assert rings.taken == (0, 16)  # 1 came with 4
    second.commit(behind, 8)
    assert rings.read(10, SIZE) == [timed(3), timed(4)]
    assert rings.taken == (32, 32)


def test_several_rings_go_back_together(pair: Pair) -> None:
    (first, second), rings = pair
    first.put(timed(1))
    assert rings.read(10, SIZE) == [timed(1)]
    rings.mark(rings.taken)
    second.put(timed(2))
    assert rings.read(10, SIZE) == [timed(2)]
    first.put(timed(3))

    assert rings.waiting() == 1
    assert rings.go_back() == [0, 1]
    assert rings.taken == (16, 0)
