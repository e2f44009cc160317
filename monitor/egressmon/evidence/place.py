"""Check that the evidence file is still at its path, and what is in it."""

import os
import stat
from typing import IO

from blake3 import blake3

from egressmon.values import dataclass

_PIECE = 1 << 20
_DESCRIPTORS = ("/dev/fd/", "/dev/std", "/proc/self/fd/")


@dataclass(frozen=True, slots=True)
class Place:
    """The evidence file, open for reading, and its path when it was opened."""

    fd: int
    path: str
    link: str
    """The path as the kernel gave it then."""

    def is_there(self, found: os.stat_result) -> bool:
        """Tell whether the file at the path is still the one with status `found`."""
        try:
            there = os.stat(self.path)  # noqa: PTH116 -- text in
        except PermissionError:  # the agent may have fewer rights by now
            return _link(self.fd) == self.link
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)

    def digest(self, size: int) -> bytes:
        """Return the BLAKE3 digest of the file, which should have `size` bytes."""
        return digest_of_file(self.fd, size)


def digest_of_file(fd: int, size: int) -> bytes:
    """Return the BLAKE3 digest of an open file, which should have `size` bytes.

    If it has more, reading stops as soon as the digest must differ.
    """
    digest, place = blake3(), 0
    while place <= size and (piece := os.pread(fd, _PIECE, place)):
        digest.update(piece)
        place += len(piece)
    return digest.digest()


# Where the file is now (proc_pid_fd(5)); " (deleted)" at its end if it is nowhere.
def _link(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 -- text out


def place_of(file: IO[bytes] | None, path: str) -> Place | None:
    """Return how to find `file`, which is open for writing at `path`, again.

    None if it cannot be read back, as a pipe.
    """
    if file is None:
        return None
    fd = file.fileno()
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    link = _link(reader)
    if path.startswith(_DESCRIPTORS):
        path = link  # the descriptor will be closed, or lead elsewhere
    return Place(reader, os.path.abspath(path), link)  # noqa: PTH100 -- as above
