"""An open file of evidence: what was written to it, and whether that is still there."""

import errno
import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Literal, TypeAlias

from blake3 import blake3

from egressmon.evidence.place import Place

EvidenceState: TypeAlias = Literal["whole", "replaced", "changed", "unchecked"]
_POLL_MS = 100
_NOT_SYNCHRONISED = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EROFS})
"""Of a pipe or a terminal."""


def digest_of_line(line: bytes) -> str:
    """Return what the next line must have as its `prev`."""
    return "blake3:" + blake3(line).hexdigest()


class Output:
    """A file to which whole lines are written, with the digest of those that are."""

    def __init__(
        self,
        file: IO[bytes],
        place: Place | None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """`place` is how to find it again; None: it is not looked for.

        `is_over` tells whether it is too late to wait for the reader of a pipe.
        """
        self._file = file
        self._pipe = _pipe_of(file)
        self._place = place
        self._is_over = is_over
        self._written = blake3()
        self.size = 0
        """Of the whole lines, in bytes."""
        self.lines = 0
        self.last: bytes | None = None
        """The last whole line."""

    @property
    def digest(self) -> bytes:
        """The BLAKE3 digest of the whole lines."""
        return self._written.digest()

    def write(self, lines: list[bytes]) -> tuple[int, OSError | None]:
        """Write `lines`; return how many are whole in the file, and why not all.

        What there is of the next one stays in the file: see `cut`.
        """
        whole = b"\n".join([*lines, b""])
        rest = memoryview(whole)
        try:
            while rest:
                rest = rest[self._write(rest) :]
        except OSError as error:
            return self._note_some(lines, len(whole) - len(rest)), error
        self._note(whole, len(lines), lines[-1])
        return len(lines), None

    def _note_some(self, lines: list[bytes], written: int) -> int:
        for count, line in enumerate(lines):
            written -= len(line) + 1
            if written < 0:
                return count
            self._note(line + b"\n", 1, line)
        return len(lines)

    def _note(self, whole: bytes, count: int, last: bytes) -> None:
        self._written.update(whole)
        self.size += len(whole)
        self.lines += count
        self.last = last

    # A file takes all at once. The reader of a pipe may have been stopped, and the run
    # must end all the same: what poll(2) says there is room for never blocks.
    def _write(self, rest: memoryview) -> int:
        fd = self._file.fileno()
        if self._pipe is None:
            return os.write(fd, rest)
        while not self._pipe.poll(_POLL_MS):
            if self._is_over():
                raise TimeoutError(errno.ETIMEDOUT, "its reader takes nothing")
        return os.write(fd, rest[: select.PIPE_BUF])

    def cut(self) -> None:
        """Cut off what follows the last whole line; raises OSError."""
        fd = self._file.fileno()
        if os.fstat(fd).st_size > self.size:
            os.ftruncate(fd, self.size)

    def identity(self) -> tuple[int, int]:
        """Return the (device, inode) of the file."""
        found = os.fstat(self._file.fileno())
        return found.st_dev, found.st_ino

    def examine(self) -> EvidenceState:
        """Return whether the file is still at its path, with just what was written."""
        place = self._place
        if place is None:
            return "unchecked"
        try:
            found = os.fstat(place.fd)
            if found.st_nlink == 0 or not place.is_there(found):
                return "replaced"
            if found.st_size != self.size:
                return "changed"
            same = place.digest(self.size) == self.digest
        except OSError:
            return "changed"  # what cannot be read back is not what was written
        return "whole" if same else "changed"

    def synchronise(self) -> OSError | None:
        """Have the file on the disk; return why it may not be."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            return None if error.errno in _NOT_SYNCHRONISED else error
        return None

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # there is nothing buffered that could be lost
            self._file.close()
        if self._place is not None:
            os.close(self._place.fd)
            self._place = None


# A poll object that says when there is room; None if it is a regular file.
def _pipe_of(file: IO[bytes]) -> "select.poll | None":
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return None
    room = select.poll()
    room.register(file.fileno(), select.POLLOUT)
    return room
