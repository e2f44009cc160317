"""Read BPF ring buffers (Documentation/bpf/ringbuf.rst), in order of time."""

import mmap
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter

_BUSY = 1 << 31  # still being written; include/uapi/linux/bpf.h
_DISCARDED = 1 << 30
_HEADER = 8
_WORD = 4
_TRIES = 20
_PAUSE_S = 0.00005


class Ring:
    """Reads a ring buffer map through its shared pages, without a system call.

    Layout: the consumer's page (which only we write), the producers' page, the data.
    The kernel reads the first word of the consumer's page alone. The second has up to
    where all records are done with (`mark`), for who reads on after us.
    The kernel offers to map the data twice in a row, so that no record wraps; as that
    would count as twice the memory, it is mapped once, and _copy() joins the parts.
    """

    def __init__(self, map_fd: int, size: int) -> None:
        """Map the ring `map_fd` of `size` bytes, a power of two; raises OSError."""
        self._fd = map_fd
        self._size = size
        self._mask = size - 1
        page = mmap.PAGESIZE
        self._own = mmap.mmap(map_fd, page, mmap.MAP_SHARED)
        readable = mmap.PROT_READ
        self._pages = mmap.mmap(map_fd, page + size, prot=readable, offset=page)
        # Access to an element of these views is one instruction, so it is atomic.
        self._consumed = memoryview(self._own).cast("Q")
        self._produced = memoryview(self._pages).cast("Q")
        self._words = memoryview(self._pages)[page:].cast("I")
        self._data = memoryview(self._pages)[page : page + size]
        self._fence = threading.Lock()
        self._position = self._consumed[0]
        self.is_cut = False
        """Whether the last read() stopped at a limit, and not at the end."""
        self.is_busy = False
        """Whether the last read() stopped at a record that is still being written."""

    def fileno(self) -> int:
        """Return a descriptor that is readable while the ring holds records."""
        return self._fd

    @property
    def filled(self) -> int:
        """How many bytes of records, with their headers, the ring holds."""
        return self._produced[0] - self._consumed[0]

    @property
    def is_filling(self) -> bool:
        """Whether the ring is more than a sixteenth full."""
        return self.filled > self._size // 16

    def read(self, limit: int, room: int) -> list[bytes]:
        """Return up to `limit` records, oldest first, and remove them from the ring.

        Stops after the record with which they reach `room` bytes.
        """
        found: list[bytes] = []
        while not found and (spans := self._committed(limit, room)):
            # Memory must be read in order: the header that marks a record as finished,
            # the record, and only then may its room be given back. Taking a lock is a
            # memory barrier on every processor.
            with self._fence:
                found = [self._copy(start, end) for start, end in spans if end]
            with self._fence:
                self._consumed[0] = self._position
        return found

    def _copy(self, start: int, end: int) -> bytes:
        data, size = self._data, self._size
        if end <= size:
            return bytes(data[start:end])
        if start >= size:  # its header ends where the ring's data ends
            return bytes(data[start - size : end - size])
        return bytes(data[start:]) + bytes(data[: end - size])

    # Returns (start, end) of each finished record; (start, 0) if it was discarded.
    def _committed(self, limit: int, room: int) -> list[tuple[int, int]]:
        position, produced = self._consumed[0], self._produced[0]
        words, mask = self._words, self._mask
        spans: list[tuple[int, int]] = []
        end = position + room
        self.is_busy = False
        while position < produced and position < end and len(spans) < limit:
            start = position & mask
            word = words[start // _WORD]
            if word & _BUSY:
                self.is_busy = True
                break
            size = word & ~_DISCARDED
            start += _HEADER
            spans.append((start, 0 if word & _DISCARDED else start + size))
            position += (size + _HEADER + 7) & ~7
        self._position = position
        self.is_cut = position >= end or len(spans) >= limit
        return spans

    @property
    def position(self) -> int:
        """Up to where records were read, in bytes since the ring was made."""
        return self._position

    def mark(self, position: int) -> None:
        """Note that all records before `position` are done with."""
        self._consumed[1] = position

    def waiting(self) -> int:
        """Return how many records nobody has read."""
        return self._count(self._consumed[0], self._produced[0])

    def go_back(self) -> int | None:
        """Have what was read and is not done with read again: return how many records.

        None if they are overwritten, or nobody can say: they are passed over.
        """
        consumed, marked = self._consumed[0], self._consumed[1]
        if marked == consumed:
            return 0
        if not self._is_there(marked, consumed):
            return None
        with self._fence:
            self._consumed[0] = marked
        # Programs write on: what they wrote before they knew may be there by now.
        if not self._is_there(marked, consumed):
            with self._fence:
                self._consumed[0] = consumed
            return None
        self._position = marked
        return self._count(marked, consumed)

    def _is_there(self, start: int, end: int) -> bool:
        is_place = 0 <= start <= end and not start % 8
        return is_place and self._produced[0] - start <= self._size

    def _count(self, position: int, end: int) -> int:
        found, limit = 0, min(end, position + self._size)
        while position < limit:
            word = self._words[(position & self._mask) // _WORD]
            if word & _BUSY:
                break
            found += not word & _DISCARDED
            position += ((word & ~_DISCARDED) + _HEADER + 7) & ~7
        return found

    def close(self) -> None:
        """Unmap the ring's pages; the descriptor stays open."""
        for view in (self._consumed, self._produced, self._words, self._data):
            view.release()
        self._own.close()
        self._pages.close()


class _Source:
    """A ring, and the records read from it that cannot be put in order yet."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.held: list[tuple[int, bytes]] = []
        self.last_ns = 0
        """The time of the newest record that was read."""
        self.taken = ring.position
        """Up to where all records were taken."""
        self._read: deque[tuple[int, int]] = deque()
        """Of each fill with records that are held: its `last_ns`, and its end."""

    def fill(self, limit: int, room: int) -> None:
        """Read more records, unless `limit` of them are held already."""
        if len(self.held) >= limit:
            return
        records = self.ring.read(limit, room)
        for data in records:
            time_ns = int.from_bytes(data[:8], sys.byteorder)
            self.last_ns = max(self.last_ns, time_ns)
            self.held.append((time_ns, data))
        if records:
            self._read.append((self.last_ns, self.ring.position))

    @property
    def is_behind(self) -> bool:
        """Whether the last read may have left records in the ring that were there."""
        return self.ring.is_cut or self.ring.is_busy

    def take(self, until_ns: int) -> list[tuple[int, bytes]]:
        """Remove and return the held records that are not newer than `until_ns`."""
        while self._read and self._read[0][0] <= until_ns:
            self.taken = self._read.popleft()[1]
        taken = [one for one in self.held if one[0] <= until_ns]
        if len(taken) == len(self.held):
            self.held = []
        elif taken:
            self.held = [one for one in self.held if one[0] > until_ns]
        return taken


class Pressure:
    """Waits until the probes wake the reader, as a ring is filling up (maps.bpf.h).

    Other than a poll of the rings, it does not end at once while there are records.
    """

    def __init__(self, rings: Iterable[Ring]) -> None:
        self._epoll = select.epoll()
        self._ended = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._ended, select.EPOLLIN)
        for ring in rings:
            self._epoll.register(ring.fileno(), select.EPOLLIN | select.EPOLLET)

    def fileno(self) -> int:
        """Return a descriptor that is readable once it is time to read."""
        return self._epoll.fileno()

    def wait(self, timeout_s: float) -> bool:
        """Wait for `timeout_s` at most; return whether a ring was filling up.

        It may also be true for nothing, once, after records came slowly.
        """
        return bool(self._epoll.poll(timeout_s))

    def end(self) -> None:
        """Let each wait end at once from now on."""
        os.eventfd_write(self._ended, 1)

    def close(self) -> None:
        """Close the descriptors."""
        self._epoll.close()
        os.close(self._ended)


class Rings:
    """Several rings, read as one in order of time; records begin with a 64-bit time.

    A record's time is taken after its room in a ring was reserved. So once a record has
    been read, all older records are in their rings, and the next read finds them.
    """

    def __init__(self, rings: Sequence[Ring]) -> None:
        """Take ownership of `rings`; ties in time go to the earlier ring."""
        self._sources = [_Source(ring) for ring in rings]
        self._poller = select.epoll()
        for ring in rings:
            self._poller.register(ring.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that is readable while a ring holds records."""
        return self._poller.fileno()

    @property
    def descriptors(self) -> set[int]:
        """The descriptors that fileno() needs to be open."""
        return {self.fileno(), *(source.ring.fileno() for source in self._sources)}

    @property
    def taken(self) -> tuple[int, ...]:
        """Up to where all records of each ring were returned by read()."""
        return tuple(source.taken for source in self._sources)

    def waiting(self) -> int:
        """Return how many records nobody has read."""
        return sum(source.ring.waiting() for source in self._sources)

    def go_back(self) -> list[int | None]:
        """Call Ring.go_back() for each ring, before the first read()."""
        found = [source.ring.go_back() for source in self._sources]
        for source in self._sources:
            source.taken = source.ring.position
        return found

    def mark(self, taken: tuple[int, ...]) -> None:
        """Note that what `taken` was after a read() is done with."""
        for source, position in zip(self._sources, taken, strict=True):
            source.ring.mark(position)

    @property
    def is_cut(self) -> bool:
        """Whether the last read() stopped at a limit in one of the rings."""
        return any(source.ring.is_cut for source in self._sources)

    @property
    def is_filling(self) -> bool:
        """Whether one of the rings is more than a sixteenth full."""
        return any(source.ring.is_filling for source in self._sources)

    def read(self, limit: int, room: int) -> list[bytes]:
        """Return the next records in order of time; [] if there are none now.

        `limit` (records) and `room` (bytes) are for each ring, and approximate.
        """
        for _ in range(_TRIES):
            self._fill(limit, room)
            newest = max(source.last_ns for source in self._sources)
            self._fill(limit, room)
            found = self._take(newest)
            if found or not any(source.held for source in self._sources):
                return found
            time.sleep(_PAUSE_S)  # another CPU is about to finish a record
        return []

    def _fill(self, limit: int, room: int) -> None:
        for source in self._sources:
            source.fill(limit, room)

    # Returns only records that are older than any that a ring may still yield.
    def _take(self, newest: int) -> list[bytes]:
        behind = [source.last_ns for source in self._sources if source.is_behind]
        until = min([newest, *behind])
        taken = [source.take(until) for source in self._sources]
        merged = list(chain.from_iterable(taken))
        merged.sort(key=itemgetter(0))
        return [data for _, data in merged]

    def pressure(self, but: int) -> "Pressure":
        """Return what tells when a ring fills up, other than number `but`."""
        rings = [source.ring for source in self._sources]
        return Pressure(rings[:but] + rings[but + 1 :])

    def close(self) -> None:
        """Unmap the rings' pages."""
        self._poller.close()
        for source in self._sources:
            source.ring.close()
