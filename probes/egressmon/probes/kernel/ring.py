"""The consumer side of ring buffer maps (Documentation/bpf/ringbuf.rst)."""

import mmap
import select
import sys
import threading
import time
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter

_BUSY = 1 << 31  # being written; include/uapi/linux/bpf.h
_DISCARDED = 1 << 30
_HEADER = 8
_WORD = 4
_TRIES = 20
_PAUSE_S = 0.00005


class Ring:
    """Reads a ring buffer map through its shared pages, without a system call.

    Layout: the consumer's page (ours to write), the producers' page, the data. The
    kernel offers the data twice in a row, so that no record wraps; that would count
    as memory of ours twice.
    """

    def __init__(self, map_fd: int, size: int) -> None:
        """Map the ring of size bytes (a power of two); raises OSError."""
        self._fd = map_fd
        self._size = size
        self._mask = size - 1
        page = mmap.PAGESIZE
        self._own = mmap.mmap(map_fd, page, mmap.MAP_SHARED)
        readable = mmap.PROT_READ
        self._pages = mmap.mmap(map_fd, page + size, prot=readable, offset=page)
        # Elements of these views are loaded and stored whole, by one instruction.
        self._consumed = memoryview(self._own).cast("Q")
        self._produced = memoryview(self._pages).cast("Q")
        self._words = memoryview(self._pages)[page:].cast("I")
        self._data = memoryview(self._pages)[page : page + size]
        self._fence = threading.Lock()
        self.is_cut = False
        """Whether the last read stopped at a limit, and not at the end."""
        self.is_busy = False
        """Whether it stopped at a record that was not finished."""

    def fileno(self) -> int:
        """Return a descriptor that polls readable while the ring holds anything."""
        return self._fd

    @property
    def filled(self) -> int:
        """How many bytes it holds."""
        return self._produced[0] - self._consumed[0]

    @property
    def is_filling(self) -> bool:
        """Whether it holds more than a little."""
        return self.filled > self._size // 16

    def read(self, limit: int, room: int) -> list[bytes]:
        """Return up to limit records, oldest first, and free their room.

        No more are begun once they take room bytes.
        """
        found: list[bytes] = []
        while not found and (spans := self._committed(limit, room)):
            # Records must be read after the headers that call them whole, and before
            # their room is given back: a lock orders memory on any processor.
            with self._fence:
                found = [self._copy(start, end) for start, end in spans if end]
            with self._fence:
                self._consumed[0] = self._position
        return found

    def _copy(self, start: int, end: int) -> bytes:
        data, size = self._data, self._size
        if end <= size:
            return bytes(data[start:end])
        if start >= size:  # its header is the ring's last
            return bytes(data[start - size : end - size])
        return bytes(data[start:]) + bytes(data[: end - size])

    # Where the finished records are; (start, 0) for one that was given up.
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

    def close(self) -> None:
        """Free the ring's mappings."""
        for view in (self._consumed, self._produced, self._words, self._data):
            view.release()
        self._own.close()
        self._pages.close()


class _Source:
    """A ring, and what was read of it but is not in its place in the order yet."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.held: list[tuple[int, bytes]] = []
        self.last_ns = 0
        """The time of the youngest record that was read."""

    def fill(self, limit: int, room: int) -> None:
        """Read on, if no more than limit records wait."""
        if len(self.held) >= limit:
            return
        for data in self.ring.read(limit, room):
            time_ns = int.from_bytes(data[:8], sys.byteorder)
            self.last_ns = max(self.last_ns, time_ns)
            self.held.append((time_ns, data))

    @property
    def is_behind(self) -> bool:
        """Whether the ring may hold records that were there before the last read."""
        return self.ring.is_cut or self.ring.is_busy

    def take(self, until_ns: int) -> list[tuple[int, bytes]]:
        """Return what waits and is not younger than until_ns."""
        taken = [one for one in self.held if one[0] <= until_ns]
        if len(taken) == len(self.held):
            self.held = []
        elif taken:
            self.held = [one for one in self.held if one[0] > until_ns]
        return taken


class Rings:
    """Several rings as one, whose records begin with their time (64 bits).

    A record's time is taken when it has its room in the ring. Therefore, what is not
    younger than a record that was found is found itself by whoever looks once more.
    """

    def __init__(self, rings: Sequence[Ring]) -> None:
        """Take over rings; of two records of one time, the earlier ring's is first."""
        self._sources = [_Source(ring) for ring in rings]
        self._poller = select.epoll()
        for ring in rings:
            self._poller.register(ring.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that polls readable while a ring holds anything."""
        return self._poller.fileno()

    @property
    def descriptors(self) -> set[int]:
        """What must stay open for fileno() to poll."""
        return {self.fileno(), *(source.ring.fileno() for source in self._sources)}

    @property
    def is_cut(self) -> bool:
        """Whether the last read stopped at a limit, and not at the end."""
        return any(source.ring.is_cut for source in self._sources)

    @property
    def is_filling(self) -> bool:
        """Whether a ring holds more than a little."""
        return any(source.ring.is_filling for source in self._sources)

    def read(self, limit: int, room: int) -> list[bytes]:
        """Return records in order; [] when there are none now.

        Of each ring not much more than limit, or than take room bytes.
        """
        for _ in range(_TRIES):
            self._fill(limit, room)
            newest = max(source.last_ns for source in self._sources)
            self._fill(limit, room)
            found = self._take(newest)
            if found or not any(source.held for source in self._sources):
                return found
            time.sleep(_PAUSE_S)  # for a record to be finished, on another CPU
        return []

    def _fill(self, limit: int, room: int) -> None:
        for source in self._sources:
            source.fill(limit, room)

    # Nothing that could still come from a ring may be older than what is returned.
    def _take(self, newest: int) -> list[bytes]:
        behind = [source.last_ns for source in self._sources if source.is_behind]
        until = min([newest, *behind])
        taken = [source.take(until) for source in self._sources]
        merged = list(chain.from_iterable(taken))
        merged.sort(key=itemgetter(0))
        return [data for _, data in merged]

    def close(self) -> None:
        """Free the rings' mappings."""
        self._poller.close()
        for source in self._sources:
            source.ring.close()
