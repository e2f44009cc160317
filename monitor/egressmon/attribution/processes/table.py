"""The processes of the scope by pid, and who descends from whom."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from egressmon.attribution.forgetting import forgettable, unfinished
from egressmon.attribution.processes.process import ANY, SERIALS, TICK_NS, Process
from egressmon.events.model import FLAG_OWNERLESS, Exited, Traffic
from egressmon.values import replace

_MAX_ENDED = 4096
_MAX_ANCESTORS = 32


class ProcessTable:
    """The processes by pid; the last that ended are kept, too."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[int, Process] = {}
        self._ended: OrderedDict[int, int] = OrderedDict()
        self._lineages: dict[int, tuple[int, ...]] = {}
        """What `basis` returns, until anything is learned of any process."""
        self._missing: dict[int, int] = {}
        """Those that were gone at the last sweep, with their serial numbers."""

    def get(self, pid: int) -> Process | None:
        """Return the process that has, or last had, the id `pid`."""
        return self._known.get(pid)

    def alive(self) -> list[Process]:
        """Return the processes that have not ended."""
        return [process for process in self._known.values() if process.alive]

    def exited(self, event: Exited) -> Process | None:
        """Record the end of a process, and return it; None if it was never seen."""
        process = self._known.get(event.pid)
        if process is None:
            return None
        self._end(process, event.ktime_ns)
        return process

    def forget(self, now_ns: int) -> int:
        """Let go of those that ended long ago, and return how many these are."""
        over = list(forgettable(self._known, self._ended, now_ns))
        for pid in over:
            del self._ended[pid]
            self._known.pop(pid, None)
        if over:
            self._lineages.clear()
        return len(over)

    def done(
        self, now_ns: int, is_there: Callable[[int], bool]
    ) -> Callable[[tuple[int, int]], bool]:
        """Return what tells whether a process, and all that it began, is done.

        It is asked of a pid and of when that process began. One that is not known is
        done if no process has its pid (`is_there`), or a later one.
        """
        acting = unfinished(self._known, self._ended, now_ns)

        def is_done(key: tuple[int, int]) -> bool:
            if key in acting:
                return False
            pid, start_ns = key
            known = self._known.get(pid)
            if known is not None and known.start_ns >= start_ns:
                return True
            return not is_there(pid)

        return is_done

    def sweep(self, is_there: Callable[[int], bool], now_ns: int) -> list[Process]:
        """Take those for ended whose end was lost, and return them.

        `is_there` tells whether any process has a pid. Whoever is gone in two sweeps,
        between which all events were read, will not be told of any more.
        """
        gone = {one.pid: one for one in self.alive() if not is_there(one.pid)}
        lost = [
            one for pid, one in gone.items() if self._missing.get(pid) == one.serial
        ]
        for one in lost:
            del gone[one.pid]
            self._end(one, now_ns)
        self._missing = {pid: one.serial for pid, one in gone.items()}
        return lost

    def ancestry(self, process: Process) -> list[str]:
        """Return the command names of the ancestors of `process`, nearest first."""
        names: list[str] = []
        parent = self._known.get(process.parent)
        while parent is not None and len(names) < _MAX_ANCESTORS:
            names.append(parent.comm)
            above = self._known.get(parent.parent)
            parent = None if above is parent else above
        return names

    def lineage(self, event: Traffic) -> tuple[tuple[int, int], ...]:
        """Return the process behind `event` and those that it descends from.

        Each is a pid and when the process began; the nearest is first. Nobody is
        returned for what has no owner.
        """
        if event.flags & FLAG_OWNERLESS or not event.pid:
            return ()
        self._meet(event.pid, event.start_ns, event.exec_id)
        found = [(event.pid, event.start_ns)]
        process = self._known.get(event.pid)
        while process is not None and len(found) <= _MAX_ANCESTORS:
            above = self._known.get(process.parent)
            if above is None or above is process or above.start_ns > process.start_ns:
                break
            found.append((above.pid, above.start_ns))
            process = above
        return tuple(found)

    def basis(self, pid: int) -> tuple[int, ...]:
        """Return all that is known of `pid` and those above it, as serial numbers.

        `actor`, `lineage` and `is_lost` rest on it, for events that are alike else.
        """
        known = self._lineages.get(pid)
        if known is None:
            if len(self._lineages) >= _MAX_ENDED:
                self._lineages.clear()
            known = self._lineages[pid] = tuple(
                process.serial for process in self._upwards(pid)
            )
        return known

    def _upwards(self, pid: int) -> Iterator[Process]:
        process = self._known.get(pid)
        for _ in range(_MAX_ANCESTORS + 2):
            if process is None:
                return
            yield process
            process = self._known.get(process.parent)

    def _know(self, process: Process) -> None:
        self._ended.pop(process.pid, None)
        self._known[process.pid] = process
        self._lineages.clear()

    # What was there before is known to a clock tick: its first event says the rest.
    def _meet(self, pid: int, start_ns: int, exec_id: int) -> None:
        process = self._known.get(pid)
        if process is None or process.exec_id != ANY:
            return
        if 0 <= start_ns - process.start_ns < TICK_NS:
            known = replace(process, start_ns=start_ns, exec_id=exec_id)
            known.serial = next(SERIALS)
            self._know(known)

    def _end(self, process: Process, ktime_ns: int) -> None:
        process.alive = False
        self._ended.pop(process.pid, None)
        self._ended[process.pid] = ktime_ns
        if len(self._ended) > _MAX_ENDED:
            self._known.pop(self._ended.popitem(last=False)[0], None)
            self._lineages.clear()
