"""Tell which files the command cannot have changed: those older than the run.

The kernel sets a file's ctime at each change of its content, links, owner or mode, and
no process can. So a file whose ctime is older than the run was not changed in it.
"""

import ctypes
import os
import select
import struct
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from egressmon import files
from egressmon.files.bounded import open_regular, read_from
from egressmon.values import dataclass

# CLOCK_REALTIME_COARSE, which the kernel stamps files with; up to a tick late.
_REALTIME_COARSE = 5
# Prefix of the kinds of file systems that a process serves: it makes up the ctimes.
_OF_PROCESSES = "fuse"
_OF_DISKS = frozenset({"fuseblk"})  # but this one is on a disk
# On these, stat(2) gives another device number than the kernel uses inside.
_TWO_DEVICES = frozenset({"overlay", "btrfs", "bcachefs"})
_MAX_TABLE = 1 << 24
# include/uapi/linux/stat.h, of Linux 5.8 and later.
_AT_EMPTY_PATH, _STATX_MNT_ID = 0x1000, 0x1000
# The first process, and, where that lets nobody look, the kernel's own threads' first.
_MACHINES_OWN = ("1", "2")
_STATX_SIZE, _STATX_MNT_ID_AT = 256, 0x90

CHANGED = "changed during the run"
ELSEWHERE = "seen from another mount namespace"
OTHER_USERS = "seen from a user namespace of its own"
NEW_MOUNT = "on a file system that was mounted during the run"
OTHER_ROOT = "seen from a root folder of its own"


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount, as in /proc/self/mountinfo. It is the same one only if all is equal."""

    device: str
    root: str
    point: str
    kind: str
    source: str


class Beginning:
    """The moment before the run: decides what may be a claim of the watched command."""

    def __init__(self, home: str | None = None, *, machine: bool = False) -> None:
        """Remember the present time, and this process's namespaces and mounts.

        `home` is the home folder of the command's user. With `machine`, what is seen
        from the mount namespace of the machine's first process counts as well, if its
        root folder is this process's: a service has but a copy of that namespace.
        """
        self.home = home
        self._began_ns = time.clock_gettime_ns(_REALTIME_COARSE)
        self._offset = _offset()
        self._set_back = 0
        self._users = _namespace("user")
        self._tables = {_namespace("mnt"): _MountTable("self")}
        if machine and (process := _machines_own(self._users)) is not None:
            view = _namespace("mnt", process)
            if view not in self._tables:
                self._tables[view] = _MountTable(process)
        self._first = self._mounts()

    def is_older(self, status: os.stat_result) -> bool:
        """Tell whether the file with this `status` was not changed in this run."""
        # If the clock is set back, files that are made later get earlier ctimes.
        self._set_back = min(self._set_back, _offset() - self._offset)
        return status.st_ctime_ns < self._began_ns + self._set_back

    def why_claimed(self, descriptor: int) -> str | None:
        """Return why an open file may have been changed in this run; None if not.

        Raises OSError.
        """
        if not self.is_older(os.fstat(descriptor)):
            return CHANGED
        return self.why_mount(descriptor)

    def why_mount(self, descriptor: int) -> str | None:
        """Return why the ctimes of an open file's mount prove nothing; None if they do.

        Raises OSError.
        """
        number = _mount_of(descriptor)
        mount = self._mounts().get(number)
        if mount is None:
            return ELSEWHERE
        if self._first.get(number) != mount:
            return NEW_MOUNT
        if mount.kind.startswith(_OF_PROCESSES) and mount.kind not in _OF_DISKS:
            return f"on a file system that a process makes up ({mount.kind})"
        return None

    def has_two_devices(self, descriptor: int) -> bool:
        """Tell whether the kernel itself may use another device number for a file.

        Raises OSError.
        """
        mount = self._mounts().get(_mount_of(descriptor))
        return mount is not None and mount.kind in _TWO_DEVICES

    def why_view(self, mounts: int, users: int) -> str | None:
        """Return why the paths of a process may mean other files; None if they do not.

        `mounts` and `users` are the inode numbers of its mount and user namespaces.
        """
        if mounts not in self._tables:
            return ELSEWHERE
        return OTHER_USERS if users != self._users else None

    def read(self, path: str, limit: int) -> tuple[bytes | None, str | None]:
        """Return the content of a regular file, and why it may have been changed.

        The content is None if there is no such file, or if it is above `limit` bytes.
        The reason is None if the file was not changed in this run.
        """
        try:
            descriptor = open_regular(path)
        except OSError:
            return None, None
        try:
            # Read first: a change after the check cannot be in the data.
            data = read_from(descriptor, limit)
            return data, self.why_claimed(descriptor)
        except OSError:
            return None, None
        finally:
            os.close(descriptor)

    def why_path(self, path: str) -> str | None:
        """Return why the file at `path` may have been changed in this run, or None."""
        try:
            descriptor = files.open_entry(path)
        except OSError:
            return "it is gone"
        try:
            return self.why_claimed(descriptor)
        except OSError:
            return "it cannot be looked at"
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the tables of mounts."""
        for table in self._tables.values():
            table.close()

    # A mount's id is that of no other, in whichever namespace (fs/namespace.c).
    def _mounts(self) -> dict[int, Mount]:
        tables = [table.now() for table in self._tables.values()]
        return tables[0] if len(tables) == 1 else tables[0] | tables[1]


class _MountTable:
    """The mounts of a process's mount namespace, by mount id."""

    def __init__(self, process: str) -> None:
        self._fd = os.open(f"/proc/{process}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._changes = select.poll()
        self._changes.register(self._fd, select.POLLPRI)
        self._known = self._read()

    # poll(2) reports changes of the table (proc_pid_mountinfo(5)).
    def now(self) -> dict[int, Mount]:
        if self._changes.poll(0):
            self._known = self._read()
        return self._known

    def _read(self) -> dict[int, Mount]:
        os.lseek(self._fd, 0, os.SEEK_SET)
        data = b""
        while len(data) < _MAX_TABLE and (part := os.read(self._fd, 1 << 16)):
            data += part
        return dict(map(_mount, os.fsdecode(data).splitlines()))

    def close(self) -> None:
        os.close(self._fd)


def _mount(line: str) -> tuple[int, Mount]:
    place, _, rest = line.partition(" - ")
    number, _, device, root, point = place.split(" ", 5)[:5]
    kind, source = rest.split(" ")[:2]
    return int(number), Mount(device, root, point, kind, source)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


# The mount id of an open file, by statx(2): /proc/self/fdinfo is closed to a process
# without rights.
def _mount_of(descriptor: int) -> int:
    found = ctypes.create_string_buffer(_STATX_SIZE)
    if _libc().statx(descriptor, b"", _AT_EMPTY_PATH, _STATX_MNT_ID, found):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(struct.unpack_from("=Q", found, _STATX_MNT_ID_AT)[0])


def _namespace(kind: str, process: str = "self") -> int:
    return Path(f"/proc/{process}/ns/{kind}").stat().st_ino


# A process in the machine's own mount namespace; None if ours is no copy of that, or if
# none can be looked at: it takes rights (CAP_SYS_PTRACE). In a container, the root
# folder is another. For who sees all processes: in a pid namespace, 1 is another.
def _machines_own(users: int) -> str | None:
    for process in _MACHINES_OWN:
        with suppress(OSError):
            root = f"/proc/{process}/root/."
            if _namespace("user", process) == users and os.path.samefile(root, "/"):  # noqa: PTH121 -- links as the kernel follows them
                return process
    return None


# How far the clock is ahead of the time since boot: it changes when the clock is set.
def _offset() -> int:
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
