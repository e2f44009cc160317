"""A folder for the segments of a run: the plain way, by an open descriptor of it.

Others who can write there may have put something else there. So no link is followed,
and no existing file is written to.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Protocol, Self

from egressmon.errors import EvidenceError

RESERVE_BYTES = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
_AGAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MODE = 0o640
"""Not readable by everybody, because of the command lines."""


class Folder(Protocol):
    """Who opens the files of a run. Whoever writes to them may have no right to.

    Each function raises OSError. Names have no `/`.
    """

    def open_next(self, name: str) -> IO[bytes]:
        """Make the file `name`, and open it to append to it, without a buffer.

        It must not have been there: raises FileExistsError.
        """
        ...

    def open_again(self, name: str) -> IO[bytes]:
        """Open what is called `name` now for reading; no link is followed."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Have `data` in the file `name`; who reads has it whole, or what was there."""
        ...


class PlainFolder:
    """Opens the files of a run with the rights of the caller."""

    def __init__(self, descriptor: int, path: str, group: int | None = None) -> None:
        """`descriptor` is of the open folder at `path`, which `close` closes.

        The files are of `group`, which may read them; None: of the usual one.
        """
        self._descriptor = descriptor
        self.path = os.path.abspath(path)  # noqa: PTH100 -- text
        self._group = group

    @classmethod
    def at(cls, path: str) -> Self:
        """Open the folder at `path`; raises EvidenceError."""
        try:
            return cls(os.open(path, _FOLDER), path)
        except (OSError, ValueError) as error:
            raise _unusable(path, error) from error

    def open_next(self, name: str) -> IO[bytes]:
        """Make the file `name`, and open it to append to it."""
        flags = os.O_WRONLY | os.O_APPEND | _NEW
        file = os.fdopen(self._made(name, flags), "wb", buffering=0)
        # For as long as it is open anywhere, others see by that that it is written.
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file.fileno(), fcntl.LOCK_SH)
        return file

    def names(self) -> Iterator[str]:
        """Yield the names of what is in the folder; raises OSError."""
        with os.scandir(self._descriptor) as found:
            for one in found:
                yield one.name

    def open_again(self, name: str) -> IO[bytes]:
        """Open what is called `name` now for reading.

        Raises FileNotFoundError if the folder itself is not at its path any more.
        """
        if not os.path.samestat(os.stat(self.path), os.fstat(self._descriptor)):  # noqa: PTH116
            raise FileNotFoundError(errno.ENOENT, "another folder is at its path")
        opened = os.open(name, _AGAIN, dir_fd=self._descriptor)
        return os.fdopen(opened, "rb", buffering=0)

    def replace(self, name: str, data: bytes) -> None:
        """Have `data` in the file `name`, by way of a temporary one."""
        folder, new = self._descriptor, f".{name}.{secrets.token_hex(4)}"
        try:
            opened = self._made(new, os.O_WRONLY | _NEW)
            with os.fdopen(opened, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise

    def open_reserve(self, size: int = RESERVE_BYTES) -> IO[bytes]:
        """Return an open file without a name that holds `size` bytes of the disk.

        Raises EvidenceError if there is no room for it.
        """
        name = f".reserve.{secrets.token_hex(8)}"
        try:
            opened = os.open(name, os.O_RDWR | _NEW, 0o600, dir_fd=self._descriptor)
            file = os.fdopen(opened, "r+b", buffering=0)
            try:
                os.unlink(name, dir_fd=self._descriptor)
                os.posix_fallocate(opened, 0, size)
            except OSError:
                file.close()
                raise
        except OSError as error:
            raise _unusable("its folder", error) from error
        return file

    def remove(self, name: str) -> None:
        """Remove the file `name`; raises OSError."""
        os.unlink(name, dir_fd=self._descriptor)

    def _made(self, name: str, flags: int) -> int:
        opened = os.open(name, flags, _MODE, dir_fd=self._descriptor)
        if self._group is None:
            return opened
        try:
            os.fchown(opened, -1, self._group)
            os.fchmod(opened, _MODE)  # whatever the umask is
        except OSError:
            os.close(opened)
            raise
        return opened

    def close(self) -> None:
        """Close the folder."""
        os.close(self._descriptor)


def _unusable(path: str, error: Exception) -> EvidenceError:
    reason = getattr(error, "strerror", None) or str(error)
    return EvidenceError(
        f"evidence cannot be written to {path}: {reason}",
        "name a folder on a disk with room, with --evidence",
    )
