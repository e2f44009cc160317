"""Read events while the command runs, and then while its descendants do."""

import os
import select
import sys
import time
from collections.abc import Callable, Container
from typing import Protocol

from egressmon import files
from egressmon.attribution.processes import Processes
from egressmon.attribution.processes.process import Process
from egressmon.clock import ahead_ns
from egressmon.events.glance import tells_of_processes_alone
from egressmon.evidence.records import Record
from egressmon.evidence.records.running import Outlived
from egressmon.faults import Faults
from egressmon.keeping.keeper_client import KeeperClient
from egressmon.keeping.launch import Launched
from egressmon.keeping.signals import EndRequest
from egressmon.pipeline import Pipeline
from egressmon.probes.wire import CONSTANTS
from egressmon.runs.catch_up import CatchUp
from egressmon.runs.plan import Ending
from egressmon.sensor.sensor import Sensor
from egressmon.text import printable

_POLL_MS = 100
_LOSS_EVERY_S = 1.0
# Each turn costs as much as some processes do, which wake the reader one by one.
# While only programs are executed that were looked at before, nothing is lost by a
# longer wait: otherwise a process may be gone before its program is looked at.
_TURN_S, _LONG_TURN_S = 0.003, 0.02
# For so long after something was read, a new program may not wake the reader (event.h).
_ASLEEP_MS = CONSTANTS["WAKE_EVERY_MS"] + 2
_LISTEN_S = 0.05
"""How often what is due is looked for, unless somebody asks."""
_PATIENCE_S = 2.0  # the wait before a message tells what is being waited for
_MAX_STAT = 4096


class Listening(Protocol):
    """Whoever is asked or told something from outside while a run goes on."""

    is_open: bool
    """Whether there still may be somebody."""

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        ...

    def listen(self) -> None:
        """Attend to what is there; do not wait for anything."""
        ...


class Follower:
    """Reads events while the command and its descendants run."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what it joins
        self,
        keeper: KeeperClient,
        sensor: Sensor,
        pipeline: Pipeline,
        processes: Processes,
        record: Callable[[Record], None],
        faults: Faults,
        own: set[int | None],
        catch_up: CatchUp,
        control: "Listening | None" = None,
    ) -> None:
        """`own` are the pids of egressmon's processes besides keeper and agent.

        `control` tells of phases, if this is the run of a scenario, or is asked for the
        end of a run that lasts.
        `catch_up` begins as soon as nothing runs any more, or nothing is waited for.
        """
        self._keeper = keeper
        self._faults = faults
        self._sensor = sensor
        self._pipeline = pipeline
        self._processes = processes
        self._record = record
        self._catch_up = catch_up
        self._control = control
        self._next_loss_check = 0.0
        self._next_turn = 0.0
        self._next_listening = 0.0
        self._asleep_until = 0.0
        self._looked_up = 0
        self._may_rest = False
        self._own = {os.getpid(), os.getppid(), *own}
        self.was_moved = False
        """Whether one of egressmon's own processes was found in the scope."""

    def until_command_ends(
        self,
        child: Launched,
        ending: Ending,
        wanted: EndRequest,
        limit_s: float | None,
    ) -> None:
        """Read events until the command's process ends; note in `ending` how it did.

        `wanted` and `limit_s` are those of `linger`, which may begin late: a record is
        waited with until the reader of the evidence takes it.
        """
        pidfd = child.pidfd
        ends = Ends(pidfd, wanted, limit_s)
        self._catch_up.watch(
            lambda: ends.has_ended() and (ends.is_enough() or not self._remaining())
        )
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(self._sensor.engine.fileno(), select.POLLIN)
        if self._control is not None:
            poller.register(self._control, select.POLLIN)
        timeout = _POLL_MS
        pressure = self._sensor.engine.pressure()
        resting = select.poll()
        resting.register(pidfd, select.POLLIN)
        resting.register(pressure, select.POLLIN)
        try:
            while pidfd not in (ready := {fd for fd, _ in poller.poll(timeout)}):
                self._listen(ready, poller)
                if not self._sensor.intake.has_more:
                    self._rest(resting)
                timeout = self._read_once()
        finally:
            pressure.close()
        reap(self._keeper, ending)

    # `poller` waits for the channel as long as there is somebody at its other end;
    # `ready` is what may be read now. What is due by the clock can wait for a moment.
    def _listen(
        self, ready: Container[int] = (), poller: "select.poll | None" = None
    ) -> None:
        control = self._control
        if control is None:
            return
        now = time.monotonic()
        is_due = poller is None or now >= self._next_listening
        if not is_due and control.fileno() not in ready:
            return
        self._next_listening = now + _LISTEN_S
        control.listen()
        if not control.is_open:
            self._control = None
            if poller is not None:
                poller.unregister(control)

    # Let a moment pass since the last turn began. What comes alone is read at once; and
    # as soon as there are calls, whose stacks fill a ring until they are answered:
    # `resting` ends then, or as the command does.
    def _rest(self, resting: "select.poll") -> None:
        left_s = self._next_turn - time.monotonic()
        if self._may_rest and left_s > 0 and not self._sensor.engine.is_filling:
            resting.poll(left_s * 1000)
        looked_up = self._processes.looked_up
        turn_s = _LONG_TURN_S if looked_up == self._looked_up else _TURN_S
        self._looked_up = looked_up
        self._next_turn = time.monotonic() + turn_s

    # Read and process one batch; return how long to wait before the next, in ms.
    def _read_once(self) -> int:
        try:
            batch = self._sensor.read()
            self._may_rest = tells_of_processes_alone(batch.events)
            if batch.events:
                self._asleep_until = time.monotonic() + _ASLEEP_MS / 1000
            with self._sensor.intake.working():
                self._pipeline.process(batch)
            self._sensor.mark_recorded()
            self._record_losses()
        except Exception as error:  # noqa: BLE001 -- later events must be read
            self._faults.note("reading events", error)
            # The ring is still readable, so that poll() would return at once, for ever.
            time.sleep(_POLL_MS / 1000)
            return _POLL_MS
        return self._patience_ms(is_empty=not batch.events)

    # If processes were told of, `_rest` waits instead.
    def _patience_ms(self, *, is_empty: bool) -> int:
        if self._sensor.intake.has_more or (self._may_rest and not is_empty):
            return 0
        return _ASLEEP_MS if time.monotonic() < self._asleep_until else _POLL_MS

    def _record_losses(self) -> None:
        now = time.monotonic()
        if now >= self._next_loss_check:
            self._next_loss_check = now + _LOSS_EVERY_S
            for loss in self._sensor.new_losses():
                self._record(loss)

    def linger(self, wanted: EndRequest, limit_s: float | None, *, quiet: bool) -> None:
        """Read events until no descendant runs, `limit_s` is over, or `wanted` is set.

        After 2 s a message tells what is being waited for, unless `quiet`.
        """
        began = time.monotonic()
        is_said = quiet
        while self._remaining() and not wanted.is_set():
            waited = time.monotonic() - began
            if limit_s is not None and waited >= limit_s:
                break
            if not is_said and waited >= _PATIENCE_S:
                is_said = True
                self._print_what_runs()
            wanted.wait(_POLL_MS)
            self._listen()
            self._read_once()
        self._catch_up.begin()
        self._drain()

    def wait_for_exits(self) -> int:
        """Wait for the exit events of processes that ended, while `catch_up` lasts.

        Return how many of these events are missing then. The kernel may skip the probe
        of an exit; another probe reports it when the task is freed, a moment later
        (after an RCU grace period and its callbacks).
        """
        while (missing := self._count_unseen_exits()) and not self._catch_up.is_over():
            time.sleep(_POLL_MS / 1000)
            self._drain()
        return missing

    def _drain(self) -> None:
        with self._faults.isolated("reading events"):
            self._pipeline.drain(self._sensor.read)

    # In a pid namespace, the ids in /proc are not those of events. Exits are then known
    # to be missing only once nothing runs in the scope.
    def _count_unseen_exits(self) -> int:
        alive = {one.pid for one in self._processes.alive()}
        if not self._processes.proc_is_ours:
            return 0 if self._inside() else len(alive)
        return len(alive.difference(self._remaining()))

    def outlived(self) -> list[Outlived]:
        """Return the processes of the scope that still run, with their names."""
        return [Outlived(pid, self._comm(pid)) for pid in self._remaining()]

    # The pids in the cgroup, and those of the command's lineage that left the cgroup.
    def _remaining(self) -> list[int]:
        inside = self._inside()
        if not self._processes.proc_is_ours:
            return inside
        lineage = [one.pid for one in self._processes.alive() if is_running(one)]
        return sorted({*inside, *lineage})

    # The pids in the cgroup, without egressmon's own: root could have moved them there.
    def _inside(self) -> list[int]:
        found = set(self._keeper.pids())
        self.was_moved = self.was_moved or bool(found & self._own)
        return sorted(found - self._own)

    def _comm(self, pid: int) -> str:
        process = self._processes.get(pid)
        return process.comm if process else "unknown"

    def _print_what_runs(self) -> None:
        names = ", ".join(sorted({one.comm for one in self.outlived()}))
        sys.stderr.write(
            "egressmon: the command ended; waiting for what it left running "
            f"({printable(names)}); Ctrl-C ends the wait, --linger 0s avoids it\n"
        )


class Ends:
    """Tells whether a process has ended, and what it left is waited for no longer."""

    def __init__(self, pidfd: int, wanted: EndRequest, limit_s: float | None) -> None:
        self._poll = select.poll()
        self._poll.register(pidfd, select.POLLIN)
        self._wanted = wanted
        self._limit_s = limit_s
        self._seen_at: float | None = None

    def has_ended(self) -> bool:
        """Tell whether the process has ended."""
        if self._seen_at is None and self._poll.poll(0):
            self._seen_at = time.monotonic()
        return self._seen_at is not None

    def is_enough(self) -> bool:
        """Tell whether an end was asked for, or the wait since then is over."""
        if self._limit_s is None or self._seen_at is None:
            return self._wanted.is_set()
        waited = time.monotonic() - self._seen_at
        return waited >= self._limit_s or self._wanted.is_set()


def reap(keeper: KeeperClient, ending: Ending) -> None:
    """Wait for the command (the keeper's child), and note in `ending` how it ended."""
    status = keeper.reap()
    if os.WIFSIGNALED(status):
        ending.signal = os.WTERMSIG(status)
    else:
        ending.status = os.WEXITSTATUS(status)


# Fields 3 and 22 of proc_pid_stat(5) are the state and the start, in clock ticks. A
# zombie (Z, X) no longer runs anything; another start means that the pid was reused.
def is_running(process: Process) -> bool:
    """Tell whether `process` still runs, and not another one with the same pid."""
    try:
        stat = files.read(f"/proc/{process.pid}/stat", _MAX_STAT)
    except OSError:
        return False
    words = stat.rpartition(b")")[2].split()
    start_ns = process.start_ns + ahead_ns()
    started = start_ns * os.sysconf("SC_CLK_TCK") // 1_000_000_000
    return words[:1] not in ([b"Z"], [b"X"]) and words[19:20] == [b"%d" % started]
