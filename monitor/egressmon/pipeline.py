"""Kernel event -> decode -> attribute -> name -> judge -> record: the whole story.

Knows nothing of how events were captured: bytes come in, records go out.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from egressmon import faults
from egressmon.attribution.processes import Processes
from egressmon.attribution.stage import Attributor
from egressmon.clock import Clock
from egressmon.events.decode import decode, kind_of
from egressmon.events.model import (
    CodeObject,
    DnsPacket,
    Escape,
    Event,
    Executed,
    Exited,
    Flow,
    Forked,
    Frames,
    Stack,
)
from egressmon.evidence.records import (
    EscapeRecord,
    LossRecord,
    ProcessExit,
    ProcessRecord,
    Record,
    UnreadableRecord,
)
from egressmon.sensor.canary import CanaryWatch, is_canary
from egressmon.verdicts import escapes
from egressmon.verdicts.connections import Connections
from egressmon.verdicts.queries import Queries

_MAX_UNREADABLE = 100
_HEAD_BYTES = 64  # no more than an event's own fields: what follows may be secret


@dataclass(slots=True)
class Tracker:
    """What the pipeline learned of the run's soundness, besides its records."""

    unreadable: int = 0
    """Events that could not be processed; the first of them are recorded."""
    ended: set[int] = field(default_factory=set[int])
    """Every pid of the scope that ended."""
    first_executed: int | None = None
    """The first pid that ran a program: the command's."""
    unread: int = 0
    """Events that were left when the time for the last of them was over."""


class Pipeline:
    """The stages, joined. `feed` takes what the probes yielded, in order."""

    def __init__(  # noqa: PLR0913 -- the stages
        self,
        *,
        processes: Processes,
        queries: Queries,
        connections: Connections,
        canaries: CanaryWatch,
        clock: Clock,
        sink: Callable[[Record, int], None],
        attributor: Attributor | None = None,
    ) -> None:
        """Records go to sink, each with the kernel's time of what it tells."""
        self.tracker = Tracker()
        self.queries = queries
        self.connections = connections
        self._processes = processes
        self._canaries = canaries
        self._attributor = attributor
        self._clock = clock
        self._sink = sink

    def feed(self, events: Iterable[bytes]) -> None:
        """Take events through all stages, oldest first; one that fails ends none."""
        for data in events:
            try:
                self._take(decode(data))
            except Exception as error:  # noqa: BLE001 -- the next ones must be read
                self._unreadable(data, error)

    def _unreadable(self, data: bytes, error: Exception) -> None:
        self.tracker.unreadable += 1
        if self.tracker.unreadable > _MAX_UNREADABLE:
            return
        with suppress(Exception):  # it is counted
            record = UnreadableRecord(
                event=kind_of(data),
                size=len(data),
                head=data[:_HEAD_BYTES].hex(),
                error=type(error).__name__,
                message=faults.message(error),
            )
            self._sink(record, self._clock.now_ns())

    def _take(self, event: Event) -> None:
        match event:
            case Flow() if is_canary(event):
                self._canaries.saw(event)
            case Flow():
                self._sink(self.connections.record(event), event.ktime_ns)
            case DnsPacket():
                for record, ktime_ns in self.queries.records(event):
                    self._sink(record, ktime_ns)
            case Stack() | Frames() | CodeObject():
                if self._attributor is not None:
                    self._attributor.saw(event)
            case Escape() | Forked() | Executed() | Exited():
                self._live(event)

    # The record is written whatever becomes of the attribution.
    def _live(self, event: Escape | Forked | Executed | Exited) -> None:
        program, failure = None, None
        try:
            program = self._attribute(event)
        except Exception as error:  # noqa: BLE001 -- raised again, behind the record
            failure = error
        record: ProcessRecord | EscapeRecord | None
        match event:
            case Escape():
                record = escapes.record(event, self._processes)
            case Forked() | Executed():
                record = self._begun(event, program)
            case Exited():
                record = self._ended(event)
        if record is not None:
            self._sink(record, event.ktime_ns)
        if failure is not None:
            raise failure

    # Of an exec, what its program was mapped from, where that is known.
    def _attribute(self, event: Escape | Forked | Executed | Exited) -> str | None:
        if self._attributor is None:
            return None
        match event:
            case Forked():
                self._attributor.forked(event)
            case Executed():
                self._attributor.executed(event.pid, event.path, event.ktime_ns)
                return self._attributor.program(event.pid)
            case Exited():
                self._attributor.ended(event.pid, event.ktime_ns)
            case Escape():
                pass
        return None

    def finish(self) -> None:
        """Record what was still open: queries without an answer."""
        now_ns = self._clock.now_ns()
        more = self.tracker.unreadable - _MAX_UNREADABLE
        if more > 0:
            consequence = "more events could not be processed than are recorded"
            self._sink(LossRecord("unreadable", more, consequence), now_ns)
        for record, ktime_ns in self.queries.close(now_ns):
            self._sink(record, ktime_ns)

    def _begun(self, event: Forked | Executed, program: str | None) -> ProcessRecord:
        if isinstance(event, Executed):
            process = self._processes.executed(event, program)
            if self.tracker.first_executed is None:
                self.tracker.first_executed = event.pid
        else:
            process = self._processes.forked(event)
        return ProcessRecord(
            event="exec" if isinstance(event, Executed) else "fork",
            pid=process.pid,
            ppid=process.parent,
            uid=process.uid,
            comm=process.comm,
            exe=process.exe,
            argv=process.argv,
            argv_cut=process.argv_cut,
            started=self._clock.rfc3339(process.start_ns),
            claimed=process.claims() if isinstance(event, Executed) else [],
        )

    def _ended(self, event: Exited) -> ProcessRecord:
        process = self._processes.exited(event)
        self.tracker.ended.add(event.pid)
        signal = event.code & 0x7F
        return ProcessRecord(
            event="exit",
            pid=event.pid,
            ppid=process.parent if process else None,
            uid=process.uid if process else None,
            comm=process.comm if process else None,
            exe=process.exe if process else None,
            argv=None,
            argv_cut=False,
            started=self._clock.rfc3339(event.start_ns),
            exit=ProcessExit(
                status=None if signal else event.code >> 8, signal=signal or None
            ),
        )
