"""Where the evidence is: whether the file at its path is the one that was written."""

import os
import stat
from dataclasses import dataclass
from typing import IO

from blake3 import blake3

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A regular file, open for reading, with its path and what the kernel calls it."""

    fd: int
    path: str
    link: str

    def is_there(self, found: os.stat_result) -> bool:
        """Tell whether the file found is still at its path."""
        try:
            there = os.stat(self.path)  # noqa: PTH116 -- text in
        except PermissionError:  # the agent may have fewer rights by now
            return _link(self.fd) == self.link
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)

    def digest(self, size: int) -> bytes:
        """Return the digest of what is in the file, which has `size` bytes.

        Of a file that grows meanwhile, no more is read than tells the difference.
        """
        digest, place = blake3(), 0
        while place <= size and (piece := os.pread(self.fd, _PIECE, place)):
            digest.update(piece)
            place += len(piece)
        return digest.digest()


# proc_pid_fd(5): where the file is now, with " (deleted)" where it is no more.
def _link(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 -- text out


# None where nothing can be read back: a pipe, or standard output, which is others' too.
def place_of(file: IO[bytes] | None, path: str) -> Place | None:
    """Return the place of `file`, which is open for writing and found at `path`."""
    if file is None:
        return None
    fd = file.fileno()
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    return Place(reader, os.path.abspath(path), _link(reader))  # noqa: PTH100 -- as above
