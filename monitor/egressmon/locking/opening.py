"""Open a file of a directory that others may write to: itself, if it is one."""

import os
import stat

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a folder",
}


class NoFileError(OSError):
    """It is something else than a regular file; `strerror` says what."""


def kind_name(mode: int) -> str:
    """Return what a thing of this `st_mode` is, with its article."""
    return _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")


def open_itself(name: str, folder: int | None = None) -> int:
    """Return a descriptor to read the regular file `name`, relative to `folder`.

    Nothing else is opened, as that could block or have effects, and a link as the last
    part of the name is not followed. Raises OSError.
    """
    _require_file(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    descriptor = os.open(name, _FLAGS, dir_fd=folder)
    try:
        _require_file(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _require_file(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NoFileError(0, f"it is {kind_name(mode)}")
