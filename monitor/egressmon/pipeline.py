"""Join the stages: kernel event -> decode -> attribute -> name -> judge -> record.

Event bytes come in and records go out. The pipeline does not know how the events were
captured, so that recorded events can be replayed.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import TypeAlias

from egressmon import files
from egressmon.attribution.processes import Processes
from egressmon.attribution.stage import Attributor
from egressmon.clock import Clock
from egressmon.events.decode import DecodeError, decode, kind_of
from egressmon.events.decode import forget as forget_addresses
from egressmon.events.glance import ended_in
from egressmon.events.glance import kind_of as kind_number
from egressmon.events.model import (
    CgroupChanged,
    CodeObject,
    DnsPacket,
    Environment,
    Escape,
    Event,
    Executed,
    Exited,
    Flow,
    Forked,
    Frames,
    Stack,
)
from egressmon.evidence.masking import forget_unused
from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import ProcessExit, ProcessRecord
from egressmon.evidence.records.running import LossRecord, UnreadableRecord
from egressmon.evidence.records.traffic import EscapeRecord, PlaceRecord
from egressmon.faults import Faults, message
from egressmon.policy.judging.judge import Judge
from egressmon.sensor.canary import CanaryWatch, is_canary
from egressmon.sensor.intake import Batch
from egressmon.values import dataclass, field
from egressmon.verdicts import escapes
from egressmon.verdicts.connections import Connections
from egressmon.verdicts.queries import Queries
from egressmon.verdicts.repeated import Lines, RepeatedConnections
from egressmon.verdicts.repeated_lookups import RepeatedLookups

_MAX_UNREADABLE = 100
# How long an event may wait to be read until what it refers to is let go of.
_WAITING_NS = 120 * 1_000_000_000
# As many batches as the full rings can hold; a batch has at most 4096 events, or half
# a megabyte, of each ring.
_MAX_DRAIN_BATCHES = 64
# An unreadable event is recorded with its first bytes only: those are the event's own
# fields, and what follows them (arguments, DNS messages) may hold secrets.
_HEAD_BYTES = 64
# The kinds of events that are noted even when the time for events is over.
_NOTED = frozenset({"exit", "connect", "send", "packet"})


@dataclass(slots=True)
class Tracker:
    """What the pipeline noted that decides whether the run is complete."""

    unreadable: int = 0
    """How many events could not be processed; the first 100 of them are recorded."""
    ended: set[int] = field(default_factory=set[int])
    """The pids of all processes of the scope that ended."""
    first_executed: int | None = None
    """The pid of the first process that executed a program: the command's."""
    command: int | None = None
    """Its pid, where others may come first; None: they cannot."""
    unread: int = 0
    """How many events were left when the time for them was over."""

    def note_exec(self, pid: int) -> None:
        """Note that a process executed a program."""
        if self.first_executed is None and self.command in {None, pid}:
            self.first_executed = pid

    def note_exit(self, pid: int) -> None:
        """Note that a process ended; where others come and go, only the command."""
        if self.command in {None, pid}:
            self.ended.add(pid)


Sink: TypeAlias = Callable[[Record, int], None]
"""Called with a record and the kernel's time (ns since boot) of what it describes."""


class Pipeline:
    """The stages of one run, joined. Events must be given to it in order of time."""

    def __init__(  # noqa: PLR0913 -- the stages
        self,
        *,
        processes: Processes,
        queries: Queries,
        connections: Connections,
        canaries: CanaryWatch,
        clock: Clock,
        sink: Sink,
        faults: Faults,
        attributor: Attributor | None = None,
        is_over: Callable[[], bool] = lambda: False,
        own: frozenset[int] = frozenset(),
        lines: Lines | None = None,
        repeated: RepeatedConnections | None = None,
        lookups: RepeatedLookups | None = None,
    ) -> None:
        """Pass records to `sink`, and failures that concern no event to `faults`.

        `own` are the processes whose traffic is left out: egressmon's own.
        `is_over` is asked before each event: once the time is over, events are counted
        and not processed. `lines` writes the records of a batch together; `repeated`
        and `lookups` make those of connections and look-ups like earlier ones. None:
        each is made anew.
        """
        self.tracker = Tracker()
        self.queries = queries
        self.connections = connections
        self._processes = processes
        self._canaries = canaries
        self._attributor = attributor
        self._clock = clock
        self._sink = sink
        self._faults = faults
        self._is_over = is_over
        self._own = own
        self._lost_mappings = 0
        self._lines = lines
        self.repeated = repeated
        self.forgotten = {"processes": 0, "members": 0}
        """What was let go of, by what it was."""
        self._lookups = lookups
        self._put_lookup = lookups.put if lookups is not None else sink

    def tidy(self, is_there: Callable[[int], bool]) -> None:
        """Let go of what nothing will be told of any more, in a run that lasts.

        `is_there` tells whether any process has a pid. Not while events are waiting
        that were there before the last call.
        """
        now_ns = self._clock.now_ns()
        for record, ktime_ns in self.queries.expire(now_ns):
            self._put_lookup(record, ktime_ns)
        lost = self._processes.sweep(is_there, now_ns)
        self.forgotten["processes"] += len(lost)
        self._processes.forget(now_ns)
        done = self._processes.done(now_ns, is_there)
        self.connections.places.forget(now_ns - _WAITING_NS, done)
        forget_addresses()
        forget_unused()
        for kept in (self.repeated, self._lookups):
            if kept is not None:
                kept.turn()
        if self._attributor is not None:
            for one in lost:
                self._attributor.on_exit(one.pid, now_ns)

    def counts_of_forgotten(self) -> dict[str, int]:
        """Return how much was let go of: ended processes, and so on."""
        beyond = self.connections.unnamed_beyond
        return {**self.forgotten, "unnamed_addresses": beyond}

    def settle(self) -> None:
        """Record what was judged and is held back."""
        for record, ktime_ns in self.queries.settle():
            self._sink(record, ktime_ns)

    def judge_by(
        self, judge: Judge, before_unnamed: Callable[[], None]
    ) -> list[PlaceRecord]:
        """Judge by another policy from now on; nothing remembered is of the old one.

        Its names are found by `before_unnamed`. Returns what the places are now. Lines
        of look-ups are kept by their verdict, and need not be forgotten.
        """
        self.connections.before_unnamed = before_unnamed
        if self.repeated is not None:
            self.repeated.forget()
        return self.connections.places.judge_by(judge)

    def process(self, batch: Batch) -> None:
        """Process the mappings of `batch`, then its events, which refer to them."""
        files.begin_batch(ended_in(batch.events))
        self._learn_mappings(batch)
        with self._lines.gathering() if self._lines is not None else nullcontext():
            self.feed(batch.events)
        if self._attributor is not None:
            with self._faults.isolated("closing files"):
                self._attributor.release()

    def drain(self, read: Callable[[], Batch]) -> None:
        """Process batches from `read` until one has no events.

        Stop after as many batches as the rings can hold: a process that creates events
        faster than they are read must not keep the run from ending.
        """
        for _ in range(_MAX_DRAIN_BATCHES):
            batch = read()
            self.process(batch)
            if not batch.events:
                return

    # If this fails half way, the attributor has learned only some of the mappings: tell
    # it that mappings were lost.
    def _learn_mappings(self, batch: Batch) -> None:
        if self._attributor is None or self._is_over():
            return
        lost = batch.lost_mappings > self._lost_mappings
        self._lost_mappings = batch.lost_mappings
        try:
            self._attributor.on_mappings(batch.mapped, lost=lost)
        except Exception as error:  # noqa: BLE001 -- the events of the batch must be read
            step = "learning what was mapped"
            self._faults.note(step, error)
            with self._faults.isolated(step):
                self._attributor.on_mappings([], lost=True)

    def feed(self, events: Sequence[bytes]) -> None:
        """Process `events`, oldest first.

        An event that cannot be processed becomes an `unreadable` record.
        """
        for place, data in enumerate(events):
            if self._is_over():
                self._pass_over(events[place:])
                return
            try:
                if self.repeated is None or not self._take_repeated(data):
                    self._process(decode(data))
            except Exception as error:  # noqa: BLE001 -- the next ones must be read
                self._unreadable(data, error)

    # What most events are: calls, and connections, like others before. The same is done
    # as for any others, in fewer steps.
    def _take_repeated(self, data: bytes) -> bool:
        kind = kind_number(data)
        if self.repeated is not None and self.repeated.record(data, kind):
            return True
        return self._attributor is not None and self._attributor.on_repeated(data, kind)

    # Count the events; only note what else the run's end would wait for, or doubt.
    def _pass_over(self, events: Sequence[bytes]) -> None:
        for data in events:
            if kind_of(data) in _NOTED:
                with suppress(DecodeError):  # then it is one that is left, too
                    self._note(decode(data))
            self.tracker.unread += 1

    def _note(self, event: Event) -> None:
        if isinstance(event, Exited):
            self._processes.exited(event)
            self.tracker.note_exit(event.pid)
        elif isinstance(event, Flow) and is_canary(event):
            self._canaries.on_flow(event)
            self.tracker.unread -= 1

    def _unreadable(self, data: bytes, error: Exception) -> None:
        self.tracker.unreadable += 1
        if self.tracker.unreadable > _MAX_UNREADABLE:
            return
        with suppress(Exception):  # the event is counted, even if it is not recorded
            record = UnreadableRecord(
                event=kind_of(data),
                size=len(data),
                head=data[:_HEAD_BYTES].hex(),
                error=type(error).__name__,
                message=message(error),
            )
            self._sink(record, self._clock.now_ns())

    def _process(self, event: Event) -> None:
        match event:
            case Flow() if is_canary(event):
                self._canaries.on_flow(event)
            case Flow() | DnsPacket() if event.pid in self._own:
                pass
            case Flow():
                self._sink(self.connections.record(event), event.ktime_ns)
            case DnsPacket():
                for record, ktime_ns in self.queries.records(event):
                    self._put_lookup(record, ktime_ns)
            case Stack() | Frames() | CodeObject():
                if self._attributor is not None:
                    self._attributor.on_stack(event)
            case Environment() | CgroupChanged():
                self._note_surroundings(event)
            case Escape() | Forked() | Executed() | Exited():
                self._process_lifecycle(event)

    def _note_surroundings(self, event: Environment | CgroupChanged) -> None:
        if isinstance(event, Environment):
            self._processes.environment(event)
        else:
            self._processes.on_cgroup(event)

    # If the attribution fails, the record is written all the same, and the error is
    # raised after that.
    def _process_lifecycle(self, event: Escape | Forked | Executed | Exited) -> None:
        program, failure = None, None
        try:
            program = self._attribute(event)
        except Exception as error:  # noqa: BLE001 -- raised again after the record
            failure = error
        record: ProcessRecord | EscapeRecord | None
        match event:
            case Escape():
                record = escapes.record(event, self._processes)
            case Forked() | Executed():
                record = self._start_record(event, program)
            case Exited():
                record = self._exit_record(event)
        if record is not None:
            self._sink(record, event.ktime_ns)
        if failure is not None:
            raise failure

    # Notify the attributor. For an exec, return the path of the file that the program
    # was mapped from, if it is known.
    def _attribute(self, event: Escape | Forked | Executed | Exited) -> str | None:
        if self._attributor is None:
            return None
        match event:
            case Forked():
                self._attributor.on_fork(event)
            case Executed():
                known = self._processes.known_status(event)
                self._attributor.on_exec(event, known)
                return self._attributor.lookup_program(event.pid)
            case Exited():
                self._attributor.on_exit(event.pid, event.ktime_ns)
            case Escape():
                pass
        return None

    def finish(self) -> None:
        """Record DNS queries without an answer, and counts of unrecorded events.

        Call it once, after the last event.
        """
        now_ns = self._clock.now_ns()
        more = self.tracker.unreadable - _MAX_UNREADABLE
        if more > 0:
            consequence = "more events could not be processed than are recorded"
            self._sink(LossRecord("unreadable", more, consequence), now_ns)
        if unread := self.tracker.unread:
            consequence = "what ran last may be missing: the time to read it was over"
            self._sink(LossRecord("unread", unread, consequence), now_ns)
        for record, ktime_ns in self.queries.close(now_ns):
            self._sink(record, ktime_ns)

    def _start_record(
        self, event: Forked | Executed, program: str | None
    ) -> ProcessRecord:
        if isinstance(event, Executed):
            process = self._processes.executed(event, program)
            self.tracker.note_exec(event.pid)
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
            container=self._processes.container_of(process),
            pid_inside=process.pid_inside,
        )

    def _exit_record(self, event: Exited) -> ProcessRecord:
        process = self._processes.exited(event)
        self.tracker.note_exit(event.pid)
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
            container=self._processes.container_of(process),
            pid_inside=process.pid_inside if process else None,
        )
