"""Open untrusted files, whose owners may have replaced them with traps.

The agent has no right to open most files (docs/decisions/0013): there the keeper opens
them, and passes the descriptors. All files of others are opened here.
"""

import ctypes
import errno
import os
import re
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from functools import cache
from typing import Protocol, TypeVar

T = TypeVar("T")
_OPENAT2 = 437  # the same number on every architecture that has it
_AT_FDCWD = -100
# include/uapi/linux/openat2.h
_NO_MAGIC_LINKS, _IN_ROOT, _CACHED, _NO_MOUNTS = 0x02, 0x10, 0x20, 0x01
_PROC_MAGIC = 0x9FA0  # include/uapi/linux/magic.h
_STATFS_SIZE = 256
_MAX_NAMES = 100_000
_CLEAN = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# The only files of /proc that may be opened for a process: never its memory or its
# environment.
_OF_PROCESS = re.compile(rb"/proc/([1-9]\d{0,9})/(exe|root|maps|stat)")
_ANY_PROCESS = re.compile(rb"/proc/(\d+)/")
_BELOW_ROOT = re.compile(rb"(/proc/[1-9]\d{0,9}/root)(/.*)", re.DOTALL)


class Kind(IntEnum):
    """What to open at a path."""

    REGULAR = 0
    """A regular file, to be read."""
    FOLDER = 1
    """A folder, to read the names in it."""
    PLACE = 2
    """Anything, only to know what it is (O_PATH); a link is followed."""
    ENTRY = 3
    """As PLACE, but a link itself is opened."""


def open_here(path: bytes, kind: Kind) -> int:
    """Open `path` in this process, with its rights, and return the descriptor.

    The file type is checked first: opening a device can have effects, and opening a
    pipe can block for ever. Below the root folder of another process
    (/proc/PID/root/...), links stay below that folder. The magic links of /proc are
    followed only at the beginning of `path`. Raises OSError.
    """
    place = _place(path, os.O_NOFOLLOW if kind is Kind.ENTRY else 0)
    if kind in {Kind.PLACE, Kind.ENTRY}:
        return place
    try:
        return _reopened(place, path, kind)
    finally:
        os.close(place)


def _place(path: bytes, flags: int) -> int:
    if _OF_PROCESS.fullmatch(path):
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    below = _BELOW_ROOT.fullmatch(path)
    if below is None:
        return _openat2(_AT_FDCWD, path, flags, _NO_MAGIC_LINKS)
    root = os.open(below[1], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _openat2(root, below[2], flags, _IN_ROOT | _NO_MAGIC_LINKS)
    finally:
        os.close(root)


def _reopened(place: int, path: bytes, kind: Kind) -> int:
    mode = os.fstat(place).st_mode
    if kind is Kind.FOLDER:
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        flags = os.O_DIRECTORY
    elif stat.S_ISREG(mode):
        flags = 0
    else:
        raise OSError(errno.EINVAL, "not a regular file")
    # With rights over all processes, their memory could be read by way of /proc.
    if not _OF_PROCESS.fullmatch(path) and _is_proc(place):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | flags | _CLEAN)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _openat2(folder: int, path: bytes, flags: int, resolve: int) -> int:
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC | flags, 0, resolve)
    call = _libc().syscall
    call.restype = ctypes.c_long
    found = call(
        ctypes.c_long(_OPENAT2), ctypes.c_int(folder), ctypes.c_char_p(path),
        ctypes.c_char_p(how), ctypes.c_size_t(len(how)),
    )  # fmt: skip
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(found)


def _is_proc(place: int) -> bool:
    room = ctypes.create_string_buffer(_STATFS_SIZE)
    if _libc().fstatfs(place, room):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(struct.unpack_from("=q", room)[0]) == _PROC_MAGIC


class Opener(Protocol):
    """Opens files for this process."""

    def open(self, path: bytes, kind: Kind) -> int:
        """Do what `open_here` does."""
        ...


class _Here:
    """Opens files in this process itself."""

    def open(self, path: bytes, kind: Kind) -> int:
        return open_here(path, kind)


_opener: Opener = _Here()
_roots: dict[str, os.stat_result] | None = None
_ended: frozenset[int] = frozenset()
_batch = 0


def use(opener: Opener) -> None:
    """Let `opener` open all files of this process from now on.

    As it is slower, the status of each process's root folder is kept for a batch.
    """
    global _opener, _roots
    _opener, _roots = opener, {}


def begin_batch(ended: frozenset[int] = frozenset()) -> None:
    """Forget the status of the processes' root folders, for a new batch of events.

    The processes `ended` are gone: nobody is asked for their files in this batch.
    """
    global _ended, _batch  # noqa: PLW0603 -- of this process
    _ended = ended
    _batch += 1
    if _roots is not None:
        _roots.clear()


def batch() -> int:
    """Return the number of the batch.

    All of its events happened before it: a file that was looked at since is known as
    well as any of them need it.
    """
    return _batch


def _open(path: str | bytes, kind: Kind) -> int:
    encoded = os.fsencode(path)
    if _ended and (of := _ANY_PROCESS.match(encoded)) and int(of[1]) in _ended:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return _opener.open(encoded, kind)


def open_regular(path: str | bytes) -> int:
    """Return a descriptor to read the regular file at `path`. Raises OSError."""
    return _open(path, Kind.REGULAR)


def open_place(path: str) -> int:
    """Return an O_PATH descriptor of what `path` leads to. Raises OSError."""
    return _open(path, Kind.PLACE)


def open_remembered(path: str) -> int:
    """Return an O_PATH descriptor of `path`, if the kernel has all of it in memory.

    So no file system is asked, which might not answer. Raises OSError; before Linux
    5.12, always.
    """
    flags = _NO_MAGIC_LINKS | _CACHED
    return _openat2(_AT_FDCWD, os.fsencode(path), 0, flags)


def open_own_folder(folder: int, name: str) -> int:
    """Return an O_PATH descriptor of the folder `name` in the open `folder`.

    Neither a link nor a mount leads there, and of a mount nothing is asked. Raises
    OSError.
    """
    flags = os.O_DIRECTORY | os.O_NOFOLLOW
    return _openat2(folder, os.fsencode(name), flags, _NO_MAGIC_LINKS | _NO_MOUNTS)


def open_entry(path: str) -> int:
    """Return an O_PATH descriptor of `path`, also if it is a link. Raises OSError."""
    return _open(path, Kind.ENTRY)


def status(path: str) -> os.stat_result:
    """Return what stat(2) says about `path`. Raises OSError."""
    if _roots is None or not path.endswith("/root"):
        return _at(path, os.fstat)
    known = _roots.get(path)
    if known is None:
        known = _roots[path] = _at(path, os.fstat)
    return known


def names_in(folder: str) -> list[str]:
    """Return the names in `folder`, at most 100,000. Raises OSError."""
    descriptor = _open(folder, Kind.FOLDER)
    names: list[str] = []
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if len(names) >= _MAX_NAMES:
                    break
                names.append(entry.name)
    finally:
        os.close(descriptor)
    return names


def real_path(path: str) -> str:
    """Return `path` with all links resolved by the kernel. Raises OSError."""
    return os.fsdecode(_at(path, _path_of))


def is_regular(path: str) -> bool:
    """Tell whether `path` leads to a regular file."""
    with suppress(OSError):
        return stat.S_ISREG(status(path).st_mode)
    return False


def program_of(pid: int) -> tuple[bytes, os.stat_result]:
    """Return the path and the status of the program that process `pid` runs.

    Raises OSError.
    """
    return _at(f"/proc/{pid}/exe", lambda place: (_path_of(place), os.fstat(place)))


def read(path: str, limit: int) -> bytes:
    """Return up to `limit` bytes of the regular file at `path`. Raises OSError."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(limit)


def _path_of(place: int) -> bytes:
    return os.readlink(f"/proc/self/fd/{place}".encode())  # noqa: PTH115 -- bytes


def _at(path: str, ask: Callable[[int], T]) -> T:
    place = open_place(path)
    try:
        return ask(place)
    finally:
        os.close(place)
