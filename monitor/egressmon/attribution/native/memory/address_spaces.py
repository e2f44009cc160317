"""What every process has mapped, followed through time by the kernel's own records."""

from collections import OrderedDict

from egressmon.attribution.native.memory.mappings import AddressSpace, Mapping
from egressmon.attribution.native.memory.proc_maps import read_address_space
from egressmon.probes.kernel.sideband import (
    Ended,
    Executed,
    Forked,
    Mapped,
    SideRecord,
)

_MAX_SPACES = 1 << 16


class AddressSpaces:
    """The address space of each process, at the moment of the last `advance_to`."""

    def __init__(self) -> None:
        self._spaces: OrderedDict[int, AddressSpace] = OrderedDict()
        self._retained: set[int] = set()
        self._pending: list[SideRecord] = []
        self._place = 0

    def push(self, records: list[SideRecord]) -> None:
        """Queue `records` of the kernel's, in any order, for `advance_to`."""
        rest = self._pending[self._place :]
        rest += records
        rest.sort(key=lambda record: record.ktime_ns)
        self._pending, self._place = rest, 0

    def advance_to(self, ktime_ns: int) -> None:
        """Apply the queued records up to the time `ktime_ns`."""
        pending = self._pending
        while self._place < len(pending) and pending[self._place].ktime_ns <= ktime_ns:
            record = pending[self._place]
            self._place += 1  # one that fails is not met again
            try:
                self._apply(record)
            except BaseException:
                self._spaces.pop(record.pid, None)  # then its modules are unknown
                raise

    def get(self, pid: int) -> AddressSpace | None:
        """Return the address space of process `pid`, or None if it is not known."""
        return self._spaces.get(pid)

    def locate(self, pid: int) -> AddressSpace | None:
        """Return the address space of process `pid`, from /proc if not known yet.

        Not known are a process that is older than the records, and one from before a
        loss of records. None where /proc does not have the process either.
        """
        return self._spaces.get(pid) or self.reread(pid)

    def reread(self, pid: int) -> AddressSpace | None:
        """Replace what is known of process `pid` by what /proc says; None: nothing."""
        space = read_address_space(pid)
        if space is not None:
            self._keep(pid, space)
        return space

    def retain(self, pid: int) -> None:
        """Keep process `pid` until `drop`, though its first thread may end before."""
        self._retained.add(pid)

    def share(self, pid: int, parent: int) -> None:
        """Let process `pid` have its `parent`'s memory: what either maps, both have.

        It ends as `pid` executes a program.
        """
        space = self._spaces.get(parent)
        if space is not None:
            self._keep(pid, space)

    def drop(self, pid: int) -> None:
        """Forget process `pid`, which has ended."""
        self._retained.discard(pid)
        self._spaces.pop(pid, None)

    def clear(self) -> None:
        """Forget every address space: records were lost, so any may be wrong."""
        self._spaces.clear()

    def _apply(self, record: SideRecord) -> None:
        match record:
            case Mapped():
                space = self._spaces.get(record.pid)
                if space is not None and not space.add(_mapping(record)):
                    del self._spaces[record.pid]  # then its modules are unknown
            case Forked():
                parent = self._spaces.get(record.parent)
                if parent is not None:
                    self._keep(record.pid, parent.copy())
            case Executed():
                before = self._spaces.get(record.pid)
                fresh = AddressSpace() if before is None else before.replaced()
                self._keep(record.pid, fresh)
            case Ended():
                if record.pid not in self._retained:
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
