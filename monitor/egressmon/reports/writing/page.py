"""GitHub's summary page of a job: a file that the watched command can change, too."""

import os
import stat
from contextlib import suppress

from egressmon import files

_WRITING = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Page:
    """The page, opened before the run; it is written only if it is still that file."""

    def __init__(self, path: bytes) -> None:
        """Open the page at `path`, or create it, with this thread's rights.

        Raises OSError, also if it is no regular file (but a pipe or a device).
        """
        self._path = path
        self._fd = _open(path)
        self._first = os.fstat(self._fd)

    def why_not_ours(self) -> str | None:
        """Return why the page is not the file that was opened; None if it is.

        The path is looked up again, as GitHub's runner will do.
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
        """Append `text`, if the page is still the file that was opened."""
        if self.why_not_ours() is None:
            with suppress(OSError):
                os.write(self._fd, text.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


# The file type is checked before the file is opened for writing: opening a pipe can
# block for ever, and opening a device can have effects.
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
