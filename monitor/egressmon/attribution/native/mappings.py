"""Which file's code is where in each process, at any moment, as the kernel told it."""

import bisect
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from egressmon.probes.kernel.sideband import (
    Ended,
    Executed,
    Forked,
    Mapped,
    SideRecord,
)

_MAX_MAPPINGS = 1 << 16
_MAX_SPACES = 1 << 16
_UNBACKED = (b"//", b"[heap]", b"[stack", b"[anon", b"/memfd:", b"/dev/zero", b"/SYSV")
_KERNELS = (b"[vdso]", b"[vsyscall]", b"[uprobes]")


@dataclass(frozen=True, slots=True)
class Mapping:
    """Executable memory, from start to end, and the file that it shows."""

    start: int
    end: int
    offset: int
    """Of the file's byte at start."""
    path: bytes
    device: int
    inode: int
    since_ns: int
    """0: read in /proc, and not told of as it was mapped."""

    @property
    def is_unbacked(self) -> bool:
        """Whether the code is in no file: made at run time, or injected."""
        return not self.path or self.path.startswith(_UNBACKED)

    @property
    def is_kernels(self) -> bool:
        """Whether the kernel itself put the code there."""
        return self.path in _KERNELS


class AddressSpace:
    """The executable mappings of one process."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._mappings: list[Mapping] = []
        self.steps: dict[int, object] = {}
        """What the unwinder found out about addresses, until the mappings change."""
        self.calls: dict[object, object] = {}
        """What chains of calls meant, until the mappings change."""
        self.program: Mapping | None = None
        """What was executed: the kernel maps it before anything else."""
        self.language: Literal["python", "node", ""] | None = None
        """Empty: neither; None: not looked at yet, or not since the last mapping."""

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._mappings)

    def set_program(self, path: bytes) -> None:
        """Have the first mapping of path be what was executed."""
        found = (mapping for mapping in self._mappings if mapping.path == path)
        self.program = next(found, self.program)

    def find(self, address: int) -> Mapping | None:
        """Return what is mapped at address."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        mapping = self._mappings[index]
        return mapping if address < mapping.end else None

    def copy(self) -> "AddressSpace":
        """Return the same mappings in a space of their own."""
        twin = AddressSpace()
        twin._starts = self._starts.copy()
        twin._mappings = self._mappings.copy()
        twin.program, twin.language = self.program, self.language
        return twin

    def add(self, new: Mapping) -> bool:
        """Have new take the place of whatever was there; False: there are too many."""
        self.steps.clear()
        self.calls.clear()
        if self.program is None and not new.is_kernels:
            self.program = new
        if self.language == "":
            self.language = None
        first = bisect.bisect_right(self._starts, new.start)
        if first and self._mappings[first - 1].end > new.start:
            first -= 1
        last = bisect.bisect_left(self._starts, new.end, first)
        pieces = [
            piece
            for old in self._mappings[first:last]
            for piece in (
                _part(old, old.start, new.start),
                _part(old, new.end, old.end),
            )
            if piece is not None
        ]
        pieces.append(new)
        pieces.sort(key=lambda mapping: mapping.start)
        if len(self._mappings) + len(pieces) > _MAX_MAPPINGS:
            return False
        self._mappings[first:last] = pieces
        self._starts[first:last] = [piece.start for piece in pieces]
        return True


def _part(old: Mapping, start: int, end: int) -> Mapping | None:
    start, end = max(start, old.start), min(end, old.end)
    if start >= end:
        return None
    return Mapping(
        start,
        end,
        old.offset + start - old.start,
        old.path,
        old.device,
        old.inode,
        old.since_ns,
    )


class Spaces:
    """The address spaces of all processes, moved forward in time by `until`."""

    def __init__(self, changed: Callable[[int], None]) -> None:
        """Call changed with the id of each process whose mappings change."""
        self._changed = changed
        self._spaces: OrderedDict[int, AddressSpace] = OrderedDict()
        self._ours: set[int] = set()
        self._pending: list[SideRecord] = []
        self._place = 0

    def push(self, records: list[SideRecord]) -> None:
        """Take records that the kernel wrote, in any order."""
        rest = self._pending[self._place :]
        rest += records
        rest.sort(key=lambda record: record.ktime_ns)
        self._pending, self._place = rest, 0

    def until(self, ktime_ns: int) -> None:
        """Apply what happened up to ktime_ns."""
        pending = self._pending
        while self._place < len(pending) and pending[self._place].ktime_ns <= ktime_ns:
            record = pending[self._place]
            self._place += 1  # one that fails is not met again
            try:
                self._apply(record)
            except BaseException:
                self._spaces.pop(record.pid, None)  # then its modules are unknown
                raise

    def of(self, pid: int) -> AddressSpace | None:
        """Return the mappings of process pid, where they are known."""
        return self._spaces.get(pid)

    def claim(self, pid: int) -> None:
        """Keep process pid until drop(): its first thread may end before it does."""
        self._ours.add(pid)

    def drop(self, pid: int) -> None:
        """Forget process pid, which is gone."""
        self._ours.discard(pid)
        self._spaces.pop(pid, None)

    def clear(self) -> None:
        """Forget all: something that happened is not known."""
        for pid in self._spaces:
            self._changed(pid)
        self._spaces.clear()

    def seed(self, pid: int, space: AddressSpace) -> None:
        """Have space stand for a process that is older than the records."""
        self._keep(pid, space)

    def _apply(self, record: SideRecord) -> None:
        match record:
            case Mapped():
                space = self._spaces.get(record.pid)
                if space is not None:
                    if not space.add(_mapping(record)):
                        del self._spaces[record.pid]  # then its modules are unknown
                    self._changed(record.pid)
            case Forked():
                parent = self._spaces.get(record.parent)
                if parent is not None:
                    self._keep(record.pid, parent.copy())
            case Executed():
                self._keep(record.pid, AddressSpace())
                self._changed(record.pid)
            case Ended():
                if record.pid not in self._ours:
                    self.drop(record.pid)

    def _keep(self, pid: int, space: AddressSpace) -> None:
        self._spaces[pid] = space
        if len(self._spaces) > _MAX_SPACES:
            self._spaces.popitem(last=False)


def _mapping(record: Mapped) -> Mapping:
    return Mapping(
        record.start,
        record.start + record.size,
        record.offset,
        record.path,
        record.device,
        record.inode,
        record.ktime_ns,
    )


def parse_maps(text: bytes) -> AddressSpace:
    """Return the executable mappings of a /proc/PID/maps (proc_pid_maps(5))."""
    space = AddressSpace()
    for line in text.splitlines()[:_MAX_MAPPINGS]:
        words = line.split(None, 5)
        if len(words) < 5 or b"x" not in words[1]:
            continue
        start, _, end = words[0].partition(b"-")
        path = words[5] if len(words) > 5 else b""
        try:
            mapping = Mapping(
                int(start, 16), int(end, 16), int(words[2], 16), path,
                _device(words[3]), int(words[4]), 0,
            )  # fmt: skip
        except ValueError:
            continue
        space.add(mapping)
    return space


def _device(text: bytes) -> int:
    major, _, minor = text.partition(b":")
    return os.makedev(int(major, 16), int(minor, 16))
