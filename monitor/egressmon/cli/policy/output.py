"""The files that `learn` and `baseline` write: all of each or nothing.

Each is written to a new file in the same folder, which gets its name at the end:
by link(2), which never replaces a file and follows no link, or by rename(2) with
`--force`.
"""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from egressmon.errors import UsageError
from egressmon.files.writing import open_for_writing
from egressmon.startup import streams
from egressmon.text import printable

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
STDOUT = "-"
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
"""The errors of link(2) on file systems that have no hard links."""


class PolicyOutput:
    """An output file that is opened before the run and written after it."""

    def __init__(
        self, path: str, *, force: bool, what: str = "policy", option: str = "--output"
    ) -> None:
        """Open the output at `path` with this thread's rights.

        `force`: replace an existing file. `what` it is, and by which `option`, is for
        messages. Raises UsageError if it cannot be written.
        """
        self._path = path
        self._what = what
        self._option = option
        self._force = force
        self._beside: str | None = None
        """The path of the new file; None if `path` itself is written to."""
        try:
            self._fd = self._open()
        except OSError as error:
            raise UsageError(
                f"the {what} cannot be written to {path}: {error.strerror}",
                f"name a writable file with {option}",
            ) from error

    # A pipe or a device is written to; a file never takes its place.
    def _open(self) -> int:
        if self._path == STDOUT:
            return streams.own_output()
        there = None
        with suppress(FileNotFoundError):
            there = os.lstat(self._path)
        if there is not None and not self._force:
            raise UsageError(
                f"{self._path} exists", f"give --force, or another {self._option}"
            )
        if there is not None:
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(os.stat(self._path).st_mode):  # noqa: PTH116
                    return open_for_writing(self._path, 0)
        path = Path(self._path)
        self._beside = str(path.with_name(f".{path.name}.{secrets.token_hex(4)}"))
        new = os.open(self._beside, _NEW, 0o666)
        if there is not None and stat.S_ISREG(there.st_mode):
            os.fchmod(new, stat.S_IMODE(there.st_mode))
        return new

    def write(self, text: str) -> None:
        """Write the whole text. Raises OSError; no part of a file is left then."""
        rest = memoryview(text.encode())
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            if self._beside is not None:
                os.ftruncate(self._fd, 0)
            raise

    def finish(self) -> str:
        """Give the new file its name, with this thread's rights.

        Returns "", or why it could not be done.
        """
        if self._beside is None:
            return ""
        try:
            if os.fstat(self._fd).st_size:
                if self._force:
                    os.replace(self._beside, self._path)  # noqa: PTH105 -- as given
                else:
                    _link(self._beside, self._path)
        except OSError as error:
            path = printable(self._path, 2000)
            return f"the {self._what} could not be written to {path}: {error.strerror}"
        finally:
            self.abandon()
        return ""

    def abandon(self) -> None:
        """Remove the new file, if it has not got its name."""
        if self._beside is not None:
            with suppress(OSError):
                os.unlink(self._beside)  # noqa: PTH108 -- as given


def _link(new: str, path: str) -> None:
    try:
        os.link(new, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, _NEW))  # fails if the name is taken; now it is ours
        os.replace(new, path)  # noqa: PTH105 -- as given
