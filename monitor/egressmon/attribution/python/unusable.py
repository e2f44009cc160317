"""Why the interpreter that a process runs cannot be used, and since when it runs it."""

from itertools import takewhile

from egressmon.attribution.python.builds import Interpreter
from egressmon.probes.kernel.sideband import (
    Ended,
    Executed,
    Forked,
    Mapped,
    SideRecord,
)

_MAX_PROCESSES = 16384
_MAX_PROGRAMS = 16


class UnusableInterpreters:
    """The processes whose frames cannot be read because of what they run.

    Mappings are read before the events of the same batch: a process may run another
    program by the time that its call is looked at. So each reason is kept with the time
    from which on it holds.
    """

    def __init__(self) -> None:
        self._reasons: dict[int, list[tuple[int, str | None]]] = {}

    def on_side_record(self, record: SideRecord, found: Interpreter | None) -> None:
        """Follow a process; `found` is the interpreter in the file that it mapped."""
        match record:
            case Executed():
                self._note(record.pid, record.ktime_ns, None)
            case Ended():
                self.on_ended(record.pid)
            case Forked():
                self.on_ended(record.pid)  # another's of that number
                reason = self.why(record.parent, record.ktime_ns)
                self._note(record.pid, record.ktime_ns, reason)
            case Mapped():
                if found is not None:
                    self._note(record.pid, record.ktime_ns, found.unusable)

    def on_executed(self, pid: int, found: Interpreter | None) -> None:
        """Note that `pid` runs `found`, which /proc says now, unless more is known."""
        if found is not None and pid not in self._reasons:
            self._note(pid, 0, found.unusable)

    def on_ended(self, pid: int) -> None:
        """Forget `pid`."""
        self._reasons.pop(pid, None)

    def why(self, pid: int, at_ns: int) -> str | None:
        """Return why what `pid` ran at `at_ns` cannot be used, or None."""
        known = self._reasons.get(pid, ())
        until = list(takewhile(lambda one: one[0] <= at_ns, known))
        return until[-1][1] if until else None

    def _note(self, pid: int, since_ns: int, reason: str | None) -> None:
        known = self._reasons.get(pid)
        if known is None:
            if reason is None:
                return
            if len(self._reasons) >= _MAX_PROCESSES:
                self._reasons.clear()
            known = self._reasons[pid] = []
        known.append((since_ns, reason))
        del known[:-_MAX_PROGRAMS]
