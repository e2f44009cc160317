"""Open a file that the user named for writing, without waiting for ever."""

import errno
import os
import stat
import time

_READER_S = 2.0
_POLL_S = 0.02


def open_for_writing(path: str, flags: int, mode: int = 0o666) -> int:
    """Open `path` with `flags` for writing to its end, and return the descriptor.

    If it is a pipe that nobody reads, a reader is waited for two seconds. Nothing else
    blocks, and no device does something because it is opened. Raises OSError.
    """
    flags |= os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    deadline = time.monotonic() + _READER_S
    while True:
        try:
            descriptor = os.open(path, flags, mode)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not _is_pipe(path):
                raise
            if time.monotonic() >= deadline:
                raise OSError(errno.ENXIO, "nobody reads this pipe") from error
            time.sleep(_POLL_S)
    os.set_blocking(descriptor, True)
    if stat.S_ISBLK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "a block device")
    return descriptor


def _is_pipe(path: str) -> bool:
    return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116 -- as it was opened
