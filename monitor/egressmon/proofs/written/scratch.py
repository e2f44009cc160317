"""The temporary folder of a run, and its end: what is removed is the run's alone.

A process of the run can leave anything in it: a mount through which everything else of
its user could be deleted, a folder that may not be read, another folder in its place.
"""

import errno
import os
import secrets
import stat
import tempfile
import time
from contextlib import suppress

from egressmon import files

_LIMIT_S = 60.0
_DEEPEST = 50
"""How many folders are open at once; one that is deeper is moved to the top."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Scratch:
    """A new folder, open from its beginning to its end."""

    def __init__(self, limit_s: float = _LIMIT_S) -> None:
        """Make it; removing it takes `limit_s` at most."""
        self.path = tempfile.mkdtemp(prefix="egressmon-run-")
        self._fd = os.open(self.path, _OPEN)
        self._limit_s = limit_s
        self._ends = 0.0
        self._problem: str | None = None
        """Why the first thing that is left is left."""

    def remove(self) -> str | None:
        """Remove it; return what is left and why, or None.

        No link is followed, and no mount is entered: what is there is not the run's.
        """
        self._ends = time.monotonic() + self._limit_s
        try:
            if not self._is_there():
                return f"{self.path} was left: it was replaced"
            self._empty(self._fd, "", 0)
            if self._problem is None:
                os.rmdir(self.path)  # noqa: PTH106 -- as it was made
        except OSError as error:
            self._note(".", error)
        finally:
            os.close(self._fd)
        if self._problem is None:
            return None
        return f"{self.path} was left: {self._problem}"

    def _is_there(self) -> bool:
        try:
            found, ours = os.lstat(self.path), os.fstat(self._fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    # Again as long as something goes: what is moved to the top, or was put there
    # meanwhile.
    def _empty(self, folder: int, path: str, depth: int) -> None:
        if os.fstat(folder).st_uid == os.geteuid():
            os.fchmod(folder, 0o700)
        while self._pass_over(folder, path, depth):
            pass

    def _pass_over(self, folder: int, path: str, depth: int) -> bool:
        gone = False
        with os.scandir(folder) as entries:
            for entry in entries:
                if time.monotonic() > self._ends:
                    late = f"it takes longer than {self._limit_s:g} s"
                    raise OSError(errno.ETIMEDOUT, late)
                try:
                    self._remove(folder, entry, f"{path}{entry.name}", depth)
                except OSError as error:
                    if error.errno == errno.ETIMEDOUT:
                        raise
                    self._note(f"{path}{entry.name}", error)
                else:
                    gone = True
        return gone

    def _remove(
        self, folder: int, entry: os.DirEntry[str], path: str, depth: int
    ) -> None:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
            return
        with suppress(OSError):
            os.rmdir(entry.name, dir_fd=folder)
            return
        inner = _opened(folder, entry.name)
        try:
            if depth >= _DEEPEST:
                name = f".deep-{secrets.token_hex(8)}"
                os.rename(entry.name, name, src_dir_fd=folder, dst_dir_fd=self._fd)
                return
            self._empty(inner, f"{path}/", depth + 1)
        finally:
            os.close(inner)
        os.rmdir(entry.name, dir_fd=folder)

    def _note(self, path: str, error: OSError) -> None:
        if self._problem is None:
            is_mount = error.errno in {errno.EXDEV, errno.EBUSY}
            why = "it is a mount" if is_mount else error.strerror
            self._problem = f"{path}: {why}"


# One that may not be read is made readable, if it is ours: it is the very same folder.
def _opened(folder: int, name: str) -> int:
    place = files.open_own_folder(folder, name)
    try:
        status = os.fstat(place)
        if (
            status.st_uid == os.geteuid()
            and stat.S_IMODE(status.st_mode) & 0o700 != 0o700
        ):
            os.chmod(f"/proc/self/fd/{place}", 0o700)  # noqa: PTH101 -- of a descriptor
        return os.open(".", _OPEN, dir_fd=place)
    finally:
        os.close(place)
