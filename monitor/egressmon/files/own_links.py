"""Open a file by its path, but follow no link that another user made.

Where somebody else may write to a folder in the path, he could have put a link there,
so that what we write goes over a file that he may not write himself. Each part of the
path is opened by itself, relative to the folder before it: swapping one meanwhile
changes nothing.
"""

import errno
import os
import stat

_MAX_LINKS = 40  # as the kernel: path_resolution(7)
_PART = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# The descriptors of this process: what they lead to is no path.
_DESCRIPTORS = ("/dev/fd/", "/dev/std", "/proc/self/fd/")


def open_by_own_links(path: str, flags: int, mode: int) -> int:
    """Open `path` as os.open does; a link must be root's, or the effective user's.

    Raises OSError.
    """
    if not path or path.startswith(_DESCRIPTORS):
        return os.open(path, flags, mode)
    walk = _Walk(path)
    try:
        return walk.open(flags, mode)
    finally:
        walk.close()


class _Walk:
    def __init__(self, path: str) -> None:
        self._left = _parts(path)
        self._links = 0
        self._folder = os.open("/" if path.startswith("/") else ".", _PART)

    def close(self) -> None:
        os.close(self._folder)

    def open(self, flags: int, mode: int) -> int:
        while True:
            part = self._left.pop(0)
            if self._left:
                self._enter(part)
                continue
            try:
                return os.open(part, flags | os.O_NOFOLLOW, mode, dir_fd=self._folder)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
            self._enter(part)

    # A folder becomes the current one; a link's target comes before what is left.
    def _enter(self, part: str) -> None:
        inner = os.open(part, _PART, dir_fd=self._folder)
        if not stat.S_ISLNK(os.fstat(inner).st_mode):
            os.close(self._folder)
            self._folder = inner
            return
        try:
            target = self._target(inner, part)
        finally:
            os.close(inner)
        self._left[:0] = _parts(target)
        if target.startswith("/"):
            os.close(self._folder)
            self._folder = os.open("/", _PART)

    def _target(self, link: int, part: str) -> str:
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        owner = os.fstat(link).st_uid
        if owner not in {0, os.geteuid()}:
            raise PermissionError(
                errno.EACCES, f"{part} is a link that uid {owner} made"
            )
        return os.readlink("", dir_fd=link)


# A slash at the end asks for a folder, as "." does.
def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return [*parts, "."] if path.endswith("/") or not parts else parts
