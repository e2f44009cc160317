"""How things stood before the command's first instruction: what was there counts.

A file's ctime is set by the kernel alone, on every change of its content, its name's
inode, its links and its rights; so one that is older than the run was not made in it.
"""

import ctypes
import os
import select
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from egressmon import files
from egressmon.files.bounded import open_regular, read_from

# What the kernel stamps files with: it may lag behind the exact clock by a tick.
_REALTIME_COARSE = 5
# Such file systems are a process's own account: it says what ctimes there are.
_OF_PROCESSES = "fuse"
_OF_DISKS = frozenset({"fuseblk"})
# A file's device there is not the one that the kernel itself knows it by.
_TWO_DEVICES = frozenset({"overlay", "btrfs", "bcachefs"})
_MAX_TABLE = 1 << 24
# include/uapi/linux/stat.h, of Linux 5.8 and later.
_AT_EMPTY_PATH, _STATX_MNT_ID = 0x1000, 0x1000
_STATX_SIZE, _STATX_MNT_ID_AT = 256, 0x90

CHANGED = "changed during the run"
ELSEWHERE = "seen from another mount namespace"
OTHER_USERS = "seen from a user namespace of its own"
OTHER_ROOT = "seen from a root folder of its own"


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount: the same one as before only where all of it is the same."""

    device: str
    root: str
    point: str
    kind: str
    source: str


class Beginning:
    """The moment before a run, and what files and views of them are measured by."""

    def __init__(self, home: str | None = None) -> None:
        """Take the present moment, and this process's view of files.

        `home` is the folder of the command's user.
        """
        self.home = home
        self._began_ns = time.clock_gettime_ns(_REALTIME_COARSE)
        self._offset = _offset()
        self._set_back = 0
        self._view = _namespace("mnt"), _namespace("user")
        self._mounts = _MountTable()
        self._first = dict(self._mounts.now())

    def is_older(self, status: os.stat_result) -> bool:
        """Tell whether the file of status is as it was before the run."""
        # A calendar that is set back takes the ctimes of what is made then with it.
        self._set_back = min(self._set_back, _offset() - self._offset)
        return status.st_ctime_ns < self._began_ns + self._set_back

    def why_claimed(self, descriptor: int) -> str | None:
        """Return why an open file may have been made up in this run; None: it was not.

        Raises OSError.
        """
        if not self.is_older(os.fstat(descriptor)):
            return CHANGED
        return self.why_mount(descriptor)

    def why_mount(self, descriptor: int) -> str | None:
        """Return why an open file's file system proves nothing; None: it does."""
        number = _mount_of(descriptor)
        mount = self._mounts.now().get(number)
        if mount is None:
            return ELSEWHERE
        if self._first.get(number) != mount:
            return "on a file system that was mounted during the run"
        if mount.kind.startswith(_OF_PROCESSES) and mount.kind not in _OF_DISKS:
            return f"on a file system that a process makes up ({mount.kind})"
        return None

    def has_two_devices(self, descriptor: int) -> bool:
        """Tell whether the kernel may know the open file by another device number."""
        mount = self._mounts.now().get(_mount_of(descriptor))
        return mount is not None and mount.kind in _TWO_DEVICES

    def why_view(self, mounts: int, users: int) -> str | None:
        """Return why what a process calls a file by may be another one's name.

        Mounts and users are the inode numbers of its namespaces.
        """
        if mounts != self._view[0]:
            return ELSEWHERE
        return OTHER_USERS if users != self._view[1] else None

    def read(self, path: str, limit: int) -> tuple[bytes | None, str | None]:
        """Return a regular file's content, None where it is none or above limit bytes.

        With it, why it may have been made up in this run; None: it was not.
        """
        try:
            descriptor = open_regular(path)
        except OSError:
            return None, None
        try:
            # What is written after this look at it is not what is read.
            data = read_from(descriptor, limit)
            return data, self.why_claimed(descriptor)
        except OSError:
            return None, None
        finally:
            os.close(descriptor)

    def why_path(self, path: str) -> str | None:
        """Return why the file at path may have been made up; None: it was not."""
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
        """Let go of the table of mounts."""
        self._mounts.close()


class _MountTable:
    def __init__(self) -> None:
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._changes = select.poll()
        self._changes.register(self._fd, select.POLLPRI)
        self._known = self._read()

    # proc_pid_mountinfo(5): poll(2) tells of changes.
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


# statx(2), by its number in the C library: /proc tells it to no process without rights.
def _mount_of(descriptor: int) -> int:
    found = ctypes.create_string_buffer(_STATX_SIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statx(descriptor, b"", _AT_EMPTY_PATH, _STATX_MNT_ID, found):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(struct.unpack_from("=Q", found, _STATX_MNT_ID_AT)[0])


def _namespace(kind: str) -> int:
    return Path(f"/proc/self/ns/{kind}").stat().st_ino


def _offset() -> int:
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
