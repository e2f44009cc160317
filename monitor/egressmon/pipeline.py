"""Kernel event -> decode -> attribute -> name -> judge -> record: the whole story.

Knows nothing of how events were captured: bytes come in, records go out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from egressmon.attribution.stage import Attributor
from egressmon.canary import CanaryWatch, is_canary
from egressmon.clock import Clock
from egressmon.connections import Connections
from egressmon.decode import DecodeError, decode
from egressmon.events import (
    CodeObject,
    DnsPacket,
    Event,
    Executed,
    Exited,
    Flow,
    Forked,
    Frames,
    Stack,
)
from egressmon.processes import Processes
from egressmon.queries import Queries
from egressmon.records import ProcessExit, ProcessRecord, Record

_DNS_PORT = 53


@dataclass(slots=True)
class Tracker:
    """What the pipeline learned of the run's soundness, besides its records."""

    short_events: int = 0
    ended: set[int] = field(default_factory=set[int])
    """Every pid of the scope that ended."""
    first_executed: int | None = None
    """The first pid that ran a program: the command's."""


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
        """Take events through all stages, oldest first."""
        for data in events:
            try:
                event = decode(data)
            except DecodeError:
                self.tracker.short_events += 1
                continue
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Flow() if is_canary(event):
                self._canaries.saw(event)
            case Flow():
                if event.port == _DNS_PORT and self.connections.is_own(event):
                    self.queries.distrust(event.address)
                self._sink(self.connections.record(event), event.ktime_ns)
            case DnsPacket():
                for record, ktime_ns in self.queries.records(event):
                    self._sink(record, ktime_ns)
            case Stack() | Frames() | CodeObject():
                if self._attributor is not None:
                    self._attributor.saw(event)
            case Forked() | Executed():
                self._sink(self._begun(event), event.ktime_ns)
            case Exited():
                self._sink(self._ended(event), event.ktime_ns)

    def finish(self) -> None:
        """Record what was still open: queries without an answer."""
        for record, ktime_ns in self.queries.close(self._clock.now_ns()):
            self._sink(record, ktime_ns)

    def _begun(self, event: Forked | Executed) -> ProcessRecord:
        if isinstance(event, Executed):
            program = None
            if self._attributor is not None:
                self._attributor.executed(event.pid, event.path, event.ktime_ns)
                program = self._attributor.program(event.pid)
            process = self._processes.executed(event, program)
            if self.tracker.first_executed is None:
                self.tracker.first_executed = event.pid
        else:
            process = self._processes.forked(event)
            if self._attributor is not None:
                self._attributor.forked(event)
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
        if self._attributor is not None:
            self._attributor.ended(event.pid, event.ktime_ns)
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
