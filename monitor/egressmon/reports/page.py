"""GitHub's summary page of a job: a file that the command can reach as well."""

import os
import stat
from contextlib import suppress

from egressmon import files

_WRITING = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Page:
    """The page as it was before the run: it is written where it still is that file."""

    def __init__(self, path: bytes) -> None:
        """Open the page at path, or make it, with this thread's rights.

        What is no regular file (a pipe, a device) is left alone. Raises OSError.
        """
        self._path = path
        self._fd = _open(path)
        self._first = os.fstat(self._fd)

    def why_not_ours(self) -> str | None:
        """Return why the page is not the file that it was; None: it is.

        It is looked up by its path again, as whoever reads it will.
        """
        what = "the job's summary page was"
        try:
            now = files.status(os.fsdecode(self._path))
        except OSError:
            return f"{what} removed, and is not written"
        if not os.path.samestat(now, self._first) or now.st_uid != self._first.st_uid:
            return f"{what} replaced by another file, and is not written"
        if now.st_size < self._first.st_size:
            return f"{what} cut, and is not written"
        return None

    def write(self, text: str) -> None:
        """Append text, where the page is still the file that it was."""
        if self.why_not_ours() is None:
            with suppress(OSError):
                os.write(self._fd, text.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


# What it is, is known before it is opened for writing: to open a pipe can take for
# ever, and to open a device can have effects.
def _open(path: bytes) -> int:
    with suppress(FileExistsError):
        return os.open(path, _WRITING | os.O_CREAT | os.O_EXCL, 0o644)
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(0, "not a regular file")
        return os.open(f"/proc/self/fd/{place}", _WRITING)
    finally:
        os.close(place)
