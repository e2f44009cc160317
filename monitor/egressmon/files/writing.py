"""Open a file that the user named for writing, without waiting for ever."""

import errno
import os
import stat
import time

from egressmon.files.own_links import open_by_own_links

_READER_S = 2.0
_POLL_S = 0.02


def open_for_writing(path: str, flags: int, mode: int = 0o666) -> int:
    """Open `path` with `flags` for writing to its end, and return the descriptor.

    If it is a pipe that nobody reads, a reader is waited for two seconds. Nothing else
    blocks, and no device does something because it is opened. No link of another user's
    is followed, and no file is taken that has other names (hard links), which others
    may have given it. Raises OSError.
    """
    descriptor = _opened(path, flags & ~os.O_TRUNC, mode)
    try:
        _require_usable(os.fstat(descriptor))
        if flags & os.O_TRUNC and stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _opened(path: str, flags: int, mode: int) -> int:
    flags |= os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    deadline = time.monotonic() + _READER_S
    while True:
        try:
            descriptor = open_by_own_links(path, flags, mode)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not _is_pipe(path):
                raise
            if time.monotonic() >= deadline:
                raise OSError(errno.ENXIO, "nobody reads this pipe") from error
            time.sleep(_POLL_S)
    os.set_blocking(descriptor, True)
    return descriptor


def _require_usable(found: os.stat_result) -> None:
    if stat.S_ISBLK(found.st_mode):
        raise OSError(errno.EINVAL, "a block device")
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise OSError(errno.EMLINK, "the file has other names, too (hard links)")


def _is_pipe(path: str) -> bool:
    return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116 -- as it was opened
