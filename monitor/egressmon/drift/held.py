"""Keep two updates of one baseline from taking back what the other wrote."""

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from egressmon.errors import UsageError

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_TRIES = 10


@contextmanager
def held(path: str) -> Generator[None]:
    """Hold the baseline at `path` while it is read and replaced.

    Raises UsageError if another process holds it, or if it is a link, which would be
    replaced by a file. What cannot be opened is not held: to read it says why.
    """
    file = _locked(path)
    try:
        yield
    finally:
        if file is not None:
            os.close(file)


def _locked(path: str) -> int | None:
    for _ in range(_MAX_TRIES):
        try:
            file = os.open(path, _READ)
        except OSError as error:
            if error.errno == errno.ELOOP and Path(path).is_symlink():
                raise UsageError(
                    f"{path} is a link, and an update would put a file in its place",
                    f"name the file itself: {os.path.realpath(path)}",
                ) from error
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            break
        except OSError:  # a file system without locks
            return file
        if _is_at(file, path):
            return file
        os.close(file)  # another update replaced it meanwhile
    raise UsageError(
        f"{path} is being updated by another process", "try again when that has ended"
    )


def _is_at(file: int, path: str) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(file), os.lstat(path))
    return False
