"""The folder of a proof, which others may try to have written elsewhere.

It is made anew, and from then on only what is in the open folder is written: no link is
followed, no file that exists is opened, whatever has become of the path meanwhile.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from egressmon.errors import UsageError

_FOLDER_MODE, _FILE_MODE = 0o750, 0o640
_NEEDED = 0o700
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1 << 20


class Folder:
    """An open folder that this process made."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._fd = descriptor
        self.path = path
        self._digests: dict[str, str] = {}
        """Of the files as they were written, or sealed, by their names."""

    @classmethod
    def make(cls, path: str) -> "Folder":
        """Make the folder at `path`, which must not exist; raises UsageError."""
        try:
            os.mkdir(path, _FOLDER_MODE)  # noqa: PTH102 -- as the user wrote it
            made = os.open(path, _OPEN)
        except OSError as error:
            hint = "name another folder with --output, or move that one away"
            if not isinstance(error, FileExistsError):
                hint = "name a folder that can be made with --output"
            raise UsageError(
                f"the proof cannot be written to {path}: {error.strerror}", hint
            ) from error
        if os.fstat(made).st_uid != os.geteuid():
            raise UsageError(
                f"the proof cannot be written to {path}: somebody else put a folder "
                "there meanwhile",
                "name a place where others cannot write with --output",
            )
        return cls(made, Path(os.path.abspath(path)))  # noqa: PTH100 -- no links read

    def make_inner(self, name: str) -> "Folder":
        """Make the folder `name` in this one; raises OSError."""
        os.mkdir(name, _FOLDER_MODE, dir_fd=self._fd)
        return Folder(os.open(name, _OPEN, dir_fd=self._fd), self.path / name)

    def create(self, name: str) -> int:
        """Return the new, empty file `name`, open for writing at its end."""
        return os.open(name, _NEW | os.O_APPEND, _FILE_MODE, dir_fd=self._fd)

    def open(self, name: str) -> int:
        """Return the file `name`, open for reading; raises OSError."""
        return os.open(name, _READ, dir_fd=self._fd)

    def write(self, name: str, data: bytes) -> None:
        """Write `data` to the file `name`, in the place of one that is there."""
        beside = f".{name}.new"
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=self._fd)
        try:
            with os.fdopen(self.create(beside), "wb", 0) as file:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=self._fd)
            raise
        os.rename(beside, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        self._digests[name] = blake3(data).hexdigest()

    def seal(self, name: str) -> str:
        """Note what is in the file `name` now; return its digest. Raises OSError."""
        self._digests[name] = self._digest(name)
        return self._digests[name]

    def forget(self, name: str) -> None:
        """Remove the file `name`."""
        self._digests.pop(name, None)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def changed(self) -> list[str]:
        """Return the names that hold something else now than what was noted."""
        return [name for name in self._digests if not self._is_same(name)]

    def digests(self, before: str = "") -> dict[str, str]:
        """Return the digests that were noted, by name, with `before` in front."""
        return {before + name: digest for name, digest in self._digests.items()}

    def names(self) -> list[str]:
        """Return the names of the files that this process made."""
        return sorted(self._digests)

    def unknown(self, *inner: str) -> list[str]:
        """Return the names that this process did not make; `inner` are folders."""
        known = {*self._digests, *inner}
        return sorted(set(os.listdir(self._fd)) - known)  # noqa: PTH208 -- of a descriptor

    @property
    def inside(self) -> str:
        """A path of the folder itself, whatever is at `path` by now."""
        return f"/proc/self/fd/{self._fd}"

    def regain(self) -> bool:
        """Have the folder be written to again; tell whether its mode was changed."""
        found = stat.S_IMODE(os.fstat(self._fd).st_mode)
        if found & _NEEDED == _NEEDED:
            return False
        with suppress(OSError):  # what is written next tells
            os.fchmod(self._fd, _FOLDER_MODE)
        return True

    def is_there(self) -> bool:
        """Tell whether the folder is still the one at its path."""
        try:
            found, ours = self.path.lstat(), os.fstat(self._fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def _is_same(self, name: str) -> bool:
        try:
            return self._digest(name) == self._digests[name]
        except OSError:
            return False

    def _digest(self, name: str) -> str:
        digest = blake3()
        with os.fdopen(self.open(name), "rb", 0) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()
