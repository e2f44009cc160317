"""The consumer side of a ring buffer map (Documentation/bpf/ringbuf.rst)."""

import mmap
import threading

_BUSY = 1 << 31  # being written; include/uapi/linux/bpf.h
_DISCARDED = 1 << 30
_HEADER = 8
_WORD = 4


class Ring:
    """Reads a ring buffer map through its shared pages, without a system call.

    Layout: the consumer's page (ours to write), the producers' page, the data
    twice in a row, so that a record never wraps.
    """

    def __init__(self, map_fd: int, size: int) -> None:
        """Map the ring of size bytes (a power of two); raises OSError."""
        self._fd = map_fd
        self._mask = size - 1
        page = mmap.PAGESIZE
        self._own = mmap.mmap(map_fd, page, mmap.MAP_SHARED)
        readable = mmap.PROT_READ
        self._pages = mmap.mmap(map_fd, page + 2 * size, prot=readable, offset=page)
        # Elements of these views are loaded and stored whole, by one instruction.
        self._consumed = memoryview(self._own).cast("Q")
        self._produced = memoryview(self._pages).cast("Q")
        self._words = memoryview(self._pages)[page:].cast("I")
        self._data = memoryview(self._pages)[page:]
        self._fence = threading.Lock()
        self.is_cut = False
        """Whether the last read stopped at a limit, and not at the end."""

    def fileno(self) -> int:
        """Return a descriptor that polls readable while the ring holds anything."""
        return self._fd

    @property
    def filled(self) -> int:
        """How many bytes it holds."""
        return self._produced[0] - self._consumed[0]

    def read(self, limit: int, room: int) -> list[bytes]:
        """Return up to limit records, oldest first, and free their room.

        No more are begun once they take room bytes.
        """
        found: list[bytes] = []
        while not found and (spans := self._committed(limit, room)):
            # Records must be read after the headers that call them whole, and before
            # their room is given back: a lock orders memory on any processor.
            with self._fence:
                data = self._data
                found = [bytes(data[start:end]) for start, end in spans if end]
            with self._fence:
                self._consumed[0] = self._position
        return found

    # Where the finished records are; (start, 0) for one that was given up.
    def _committed(self, limit: int, room: int) -> list[tuple[int, int]]:
        position, produced = self._consumed[0], self._produced[0]
        words, mask = self._words, self._mask
        spans: list[tuple[int, int]] = []
        end = position + room
        while position < produced and position < end and len(spans) < limit:
            start = position & mask
            word = words[start // _WORD]
            if word & _BUSY:
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
