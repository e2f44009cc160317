"""What the scope's processes map, from the side band of perf events.

Each CPU has one perf event, which counts nothing itself; its ring receives a record of
every executable mapping, exec, fork and exit. Times are by the probes' clock.
Formats: perf_event_open(2), include/uapi/linux/perf_event.h.
"""

import mmap
import os
import struct
import threading
from pathlib import Path
from typing import NamedTuple, TypeAlias

from egressmon.probes.kernel import bpf

_ATTRIBUTE_SIZE = 136
_TYPE_SOFTWARE, _COUNT_DUMMY = 1, 9
_SAMPLE_TID, _SAMPLE_TIME = 1 << 1, 1 << 2
_MMAP, _COMM, _TASK, _SAMPLE_ID_ALL = 1 << 8, 1 << 9, 1 << 13, 1 << 18
_MMAP2, _COMM_EXEC, _USE_CLOCK_ID = 1 << 23, 1 << 24, 1 << 25
_CLOCK_BOOTTIME = 7
_FLAG_CGROUP, _FLAG_CLOEXEC = 4, 8

_LOST, _COMM_RECORD, _EXIT, _FORK, _MMAP2_RECORD = 2, 3, 4, 7, 10
_MISC_EXEC = 1 << 13
_PROT_EXEC = 4

_ONLINE = Path("/sys/devices/system/cpu/online")
_PAGES = 64
_HEADER = struct.Struct("=IHH")
_TAIL = struct.Struct("=IIQ")  # sample_id: pid, tid, time
_MMAP2_HEAD = struct.Struct("=IIQQQ")
_DEVICE = struct.Struct("=IIQ")
_TASKS = struct.Struct("=IIII")
_HEAD_AT, _TAIL_AT = 1024, 1032  # of struct perf_event_mmap_page
_MMAP2_PATH, _MMAP2_DEVICE, _MMAP2_PROT = 72, 40, 64


class Mapped(NamedTuple):
    """A process has made an executable mapping, of the file `path` or of none."""

    ktime_ns: int
    pid: int
    start: int
    size: int
    offset: int
    path: bytes
    device: int
    inode: int


class Executed(NamedTuple):
    """A process runs a new program, so its mappings before are gone."""

    ktime_ns: int
    pid: int


class Forked(NamedTuple):
    """The process `parent` has forked `pid`, which has the same mappings."""

    ktime_ns: int
    pid: int
    parent: int


class Ended(NamedTuple):
    """A process has ended; emitted only if `SideBand.whole_machine`.

    The end of a process of the scope is an event of the probes.
    """

    ktime_ns: int
    pid: int


SideRecord: TypeAlias = Mapped | Executed | Forked | Ended


class SideBand:
    """Reads the side band of one cgroup's processes. Not thread-safe."""

    def __init__(self, cgroup: int) -> None:
        """Watch the processes in `cgroup`, a descriptor, from now on.

        If perf cannot select by cgroup (its controller belongs to cgroup v1, or is not
        enabled before the first write to any cgroup.subtree_control), all processes
        of the machine are watched. Raises OSError if perf events may not be used.
        """
        self.lost = 0
        """How many records were lost, as a ring was full or a CPU had none.

        A CPU without a ring counts once for each `read`, whatever was mapped on it.
        """
        self.whole_machine = False
        """Whether processes outside the scope are recorded, too."""
        self._rings: list[_Ring] = []
        self._online = os.open(_ONLINE, os.O_RDONLY | os.O_CLOEXEC)
        """The kernel's list of CPUs, made anew for who reads from its start."""
        self._told = ""
        """What the kernel last said of which CPUs are online."""
        self._watched: set[int] = set()
        """The CPUs that were online from the beginning, without a break."""
        self._unwatched = 0
        """How many of those that are online now were not."""
        try:
            self._open(cgroup)
        except BaseException:
            self.close()
            raise

    def _read_online(self) -> str:
        return os.pread(self._online, mmap.PAGESIZE, 0).decode()

    def _open(self, cgroup: int) -> None:
        try:
            self._open_all(cgroup, _FLAG_CGROUP)
        except OSError:
            self._close_rings()
            self.whole_machine = True
            self._open_all(-1, 0)

    def _open_all(self, target: int, flags: int) -> None:
        self._told = self._read_online()
        self._watched = parse_cpus(self._told)
        for cpu in sorted(self._watched):
            self._rings.append(_Ring(_open_event(target, cpu, flags)))

    def read(self) -> list[SideRecord]:
        """Return the records since the last call: CPU by CPU, each in order of time."""
        self.lost += self._count_unwatched()
        found: list[SideRecord] = []
        for ring in self._rings:
            for kind, misc, data in ring.read():
                if kind == _LOST:
                    self.lost += struct.unpack_from("=Q", data, 16)[0]
                elif kind != _EXIT or self.whole_machine:
                    record = _parse(kind, misc, data)
                    if record is not None:
                        found.append(record)
        return found

    # A CPU that comes online has no ring, and one that was offline has none any more:
    # the kernel takes a CPU's events away as it goes (perf_event_exit_cpu()).
    def _count_unwatched(self) -> int:
        told = self._read_online()
        if told != self._told:
            self._told = told
            online = parse_cpus(told)
            self._watched &= online
            self._unwatched = len(online - self._watched)
        return self._unwatched

    def close(self) -> None:
        """Stop watching."""
        self._close_rings()
        if self._online >= 0:
            os.close(self._online)
            self._online = -1

    def _close_rings(self) -> None:
        while self._rings:
            self._rings.pop().close()


class _Ring:
    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        page = mmap.PAGESIZE
        self._size = _PAGES * page
        try:
            self._pages = mmap.mmap(descriptor, page + self._size)
        except BaseException:
            os.close(descriptor)
            raise
        self._words = memoryview(self._pages)[:page].cast("Q")
        self._data = memoryview(self._pages)[page:]
        self._fence = threading.Lock()

    def read(self) -> list[tuple[int, int, bytes]]:
        head, tail = self._words[_HEAD_AT // 8], self._words[_TAIL_AT // 8]
        # Memory must be read in order: the head, the records, and only then may their
        # room be given back. Taking a lock is a memory barrier on every processor.
        with self._fence:
            found = self._records(tail, head)
        with self._fence:
            self._words[_TAIL_AT // 8] = head
        return found

    def _records(self, tail: int, head: int) -> list[tuple[int, int, bytes]]:
        found: list[tuple[int, int, bytes]] = []
        while tail < head:
            kind, misc, size = _HEADER.unpack(self._bytes(tail, _HEADER.size))
            if size < _HEADER.size:
                break  # no header of the kernel's: do not loop for ever
            found.append((kind, misc, self._bytes(tail, size)))
            tail += size
        return found

    def _bytes(self, position: int, size: int) -> bytes:
        place = position % self._size
        first = bytes(self._data[place : place + size])
        return first + bytes(self._data[: size - len(first)])

    def close(self) -> None:
        self._words.release()
        self._data.release()
        self._pages.close()
        os.close(self._fd)


def _parse(kind: int, misc: int, data: bytes) -> SideRecord | None:
    time = _TAIL.unpack_from(data, len(data) - _TAIL.size)[2]
    if kind == _MMAP2_RECORD:
        return _mapped(data, time)
    if kind == _COMM_RECORD:
        pid = struct.unpack_from("=I", data, 8)[0]
        return Executed(time, pid) if misc & _MISC_EXEC else None
    if kind not in {_FORK, _EXIT}:
        return None
    pid, parent, tid, _ = _TASKS.unpack_from(data, 8)
    if kind == _FORK:
        return Forked(time, pid, parent) if pid != parent else None  # a thread
    return Ended(time, pid) if pid == tid else None


def _mapped(data: bytes, time: int) -> Mapped | None:
    pid, _, start, size, offset = _MMAP2_HEAD.unpack_from(data, _HEADER.size)
    if not struct.unpack_from("=I", data, _MMAP2_PROT)[0] & _PROT_EXEC:
        return None
    major, minor, inode = _DEVICE.unpack_from(data, _MMAP2_DEVICE)
    path = data[_MMAP2_PATH : len(data) - _TAIL.size].partition(b"\0")[0]
    return Mapped(time, pid, start, size, offset, path, os.makedev(major, minor), inode)


# Not with PERF_RECORD_MISC_MMAP_BUILD_ID, which replaces device and inode by the build
# id: anybody can copy a build id.
def _open_event(target: int, cpu: int, flags: int) -> int:
    attribute = bytearray(_ATTRIBUTE_SIZE)
    struct.pack_into(
        "=IIQQQQQ", attribute, 0, _TYPE_SOFTWARE, _ATTRIBUTE_SIZE, _COUNT_DUMMY, 0,
        _SAMPLE_TID | _SAMPLE_TIME, 0,
        _MMAP | _COMM | _TASK | _SAMPLE_ID_ALL | _MMAP2 | _COMM_EXEC | _USE_CLOCK_ID,
    )  # fmt: skip
    struct.pack_into("=i", attribute, 92, _CLOCK_BOOTTIME)
    return bpf.open_event(bytes(attribute), target, cpu, flags)


def parse_cpus(text: str) -> set[int]:
    """Return the CPUs in a list as the kernel writes it, such as 0-3,6 (cpuset(7))."""
    ranges = (part.partition("-") for part in text.strip().split(","))
    return {
        cpu
        for first, _, last in ranges
        for cpu in range(int(first), int(last or first) + 1)
    }
