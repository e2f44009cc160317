"""Keep what libbpf needs of the kernel's types, so that probes load faster.

The files are in a folder that only root can write, as root's code is: what is in them
decides what the probes read. Whatever is odd about one, it is as if it were not there.
"""

import os
import stat
from contextlib import suppress

from egressmon.startup import ownership

FOLDER = "/var/cache/egressmon"
_MAX_SIZE = 1 << 20
_MAX_FILES = 8


def stored(key: str) -> bytes | None:
    """Return what was kept under `key`; None if there is nothing to be trusted."""
    path = f"{FOLDER}/{key}.types"
    try:
        if ownership.obstacle(path):
            return None
        with open(path, "rb", opener=_without_following) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_SIZE:
                return None
            return file.read(_MAX_SIZE)
    except OSError:
        return None


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def open_folder() -> None:
    """Make the folder if need be. Raises OSError if nothing can be kept in it."""
    with suppress(FileExistsError):
        os.mkdir(FOLDER, 0o700)  # noqa: PTH102 -- pathlib is not needed here
        os.chmod(FOLDER, 0o755)  # noqa: PTH101, S103 -- whatever the umask is
    if reason := ownership.obstacle(FOLDER):
        raise PermissionError(reason)
    if not os.access(FOLDER, os.W_OK):
        raise PermissionError(FOLDER)


def store(key: str, data: bytes) -> None:
    """Keep `data` under `key`. Raises OSError if that is not possible."""
    open_folder()
    _make_room()
    path = f"{FOLDER}/{key}.types"
    new = f"{path}.{os.getpid()}"
    descriptor = os.open(
        new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
    )
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 -- a descriptor
            file.write(data)
            os.fchmod(descriptor, 0o644)
        os.rename(new, path)  # noqa: PTH104 -- as above
    except OSError:
        os.unlink(new)  # noqa: PTH108 -- as above
        raise


# Kernels and versions of egressmon come and go.
def _make_room() -> None:
    names = os.listdir(FOLDER)  # noqa: PTH208 -- as above
    if len(names) < _MAX_FILES:
        return
    for name in names:
        with suppress(OSError):
            os.unlink(f"{FOLDER}/{name}")  # noqa: PTH108 -- as above
