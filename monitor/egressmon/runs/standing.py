"""A run that lasts: it watches what is there, until somebody ends it.

The part of a command is played by a process that only waits, in a cgroup of our own:
that it is executed and ends is seen as any command's is, and proves as much.
"""

import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from egressmon import host
from egressmon.attribution import steps
from egressmon.attribution.packages import rpm
from egressmon.containers.choice import Choice
from egressmon.evidence.predecessor import NOT_CONCLUDED
from egressmon.evidence.records import Record
from egressmon.evidence.records.lasting import (
    ClockRecord,
    GapRecord,
    HeartbeatRecord,
    RestartRecord,
)
from egressmon.evidence.records.running import (
    BlindSpot,
    ChoiceCounts,
    PhaseRecord,
    PolicyCounts,
)
from egressmon.evidence.records.traffic import ExistingRecord
from egressmon.keeping.signals import EndRequest
from egressmon.naming.dns import servers
from egressmon.naming.place_files import (
    GONE,
    MACHINES,
    PlaceFiles,
    Viewer,
    look,
)
from egressmon.naming.places import Look
from egressmon.naming.served import Served
from egressmon.reports.outcome import Outcome
from egressmon.runs.chosen import Chosen
from egressmon.runs.follow import is_running
from egressmon.runs.gaps import Beats, gap_before, gap_of_refusal
from egressmon.runs.overseer import Overseer
from egressmon.runs.reloading import Reloading
from egressmon.runs.restarts import restart_after
from egressmon.runs.session import Session
from egressmon.sensor.canary import Attempt
from egressmon.sensor.found_scope import FoundScope
from egressmon.sidecar.matching import not_there_yet
from egressmon.sidecar.notifying import State
from egressmon.sidecar.permissions import Caller
from egressmon.sidecar.stopped import goes_on_from
from egressmon.values import dataclass, replace
from egressmon.verdicts import relays

if TYPE_CHECKING:
    from egressmon.containers.known import Containers

# What is needed once the rights are gone is imported before: egressmon's files may be
# root's alone.
IMPORTED_BEFORE = (relays, rpm, servers, steps)
WAITING = ["/bin/sleep", "infinity"]
_MAX_CGROUP = 8192
_POLL_S = 0.1
_ROUND_S = 30.0
_MAX_DOUBTS = 100
_FIRST_S, _TURN_S = 1.0, 0.01
_ENGINES_S = 3.0
"""How long the run's end waits for what container engines are asked."""


@dataclass(frozen=True, slots=True)
class Round:
    """Canaries that were sent, and until when they are waited for."""

    attempts: list[Attempt]
    until: float
    """In monotonic seconds."""


class StandingSession(Session):
    """Follows a scope that was there before, until somebody ends the run."""

    overseer: Overseer
    reloading: Reloading
    containers: "Containers | None" = None
    chosen: Chosen | None = None
    """Those of them that are watched; None: all that is in the scope is."""
    served: Served
    """Where this machine serves DNS to containers."""
    round: "Round | None" = None
    """The canaries that were sent and not yet recorded."""

    _before: int | None = 0
    """Violations of the runs that this one goes on from; None: not known."""

    def _listen(self) -> Overseer:
        standing = self._state.options.standing
        if standing is None:
            raise TypeError("not a run that lasts")
        self.isolated = self._isolated
        around = self._live.armed.around
        if around is not None:
            choice = Choice(standing.wanted) if standing.wanted else None
            self.containers = around.containers(self._tell_container, choice)
            self._state.knowledge.processes.containers = self.containers
            if choice is not None:
                self._state.knowledge.processes.is_part = True
                self.chosen = Chosen(choice, self.containers, self._recorder)
        self.overseer = Overseer(self, standing)
        self.reloading = Reloading(
            self._state, self._recorder, self._live.keeper.open_policy
        )
        return self.overseer

    def _look(self) -> Look | None:
        state = self._state
        state.knowledge.canaries.netns = host.own_network()
        self.served = Served()
        own, served = host.own_mounts(), self.served
        processes, machines = state.knowledge.processes, state.judge.search

        def look_at(pid: int) -> PlaceFiles:
            process = processes.get(pid)
            mounts = process.mounts if process is not None else 0
            if mounts == own:
                return MACHINES
            since = processes.mount_ages.since_ns(mounts)
            wall = since + state.clock.offset_ns if since is not None else None
            found = GONE
            for viewer in (pid, *processes.viewers(pid)):
                found = look(Viewer(viewer, wall), machines)
                if found.is_read:
                    break
            # Whether its process is gone or not, by what its engine serves it.
            return replace(found, servers=(*found.servers, *served.addresses()))

        return look_at

    @property
    def run(self) -> str:
        """The run's identifier."""
        return self._state.evidence.run

    @property
    def follows(self) -> str | None:
        """The run whose probes this one took up, if any."""
        kept = self._live.sensor.engine.kept
        return kept.run if kept is not None else None

    def is_inside(self, pid: int) -> bool:
        """Tell whether the process `pid` is in the scope."""
        scope = self._live.scope
        if self.chosen is not None:
            return self.chosen.is_inside(pid)
        if isinstance(scope, FoundScope) and scope.goes_by_lineage:
            process = self._state.knowledge.processes.get(pid)
            return process is not None and is_running(process)
        parts = scope.watched.relative_to(scope.root).parts
        place = "".join(f"/{part}" for part in parts)
        with suppress(OSError):
            with open(f"/proc/{pid}/cgroup", "rb") as file:  # noqa: PTH123 -- bounded
                text = file.read(_MAX_CGROUP).decode(errors="replace")
            for line in text.splitlines():
                if line.startswith("0::"):
                    return f"{line[3:]}/".startswith(f"{place}/")
        return not parts

    def record(self, record: Record) -> None:
        """Write `record` of this moment."""
        self._recorder.record(record)

    def end(self) -> None:
        """Let the run end."""
        self._live.keeper.end()

    def reload_request(self) -> EndRequest:
        """Return what tells that a signal asked for a reload."""
        return self._live.armed.keeper_setup.relay.reloading

    def reload(self, caller: Caller, reason: str) -> str:
        """Judge by the policy as it is now; return why not, or ""."""
        self.notify(State.RELOADING)
        if self.containers is not None:  # what is kept was judged by the old policy
            self.containers.settle("the policy was read again before that was known")
        try:
            return self.reloading.reload(self._pipeline, caller, reason)
        finally:
            self.notify(State.READY)

    def notify(self, state: State) -> None:
        """Tell the service manager, if there is one."""
        standing = self._state.options.standing
        if standing is None or standing.notifier is None:
            return
        counts = self._state.tally.seen_connections
        with self._isolated("telling the service manager"):
            self._live.keeper.notify(state, counts.total(), counts["violation"])

    # What was kept until it was known whose it is, is recorded after who that is.
    def _tell_container(self, record: Record) -> None:
        self.record(record)
        if self.chosen is not None:
            self.chosen.release()

    def _policies(self) -> list[PolicyCounts]:
        return self.reloading.policies()

    def _choice(self) -> ChoiceCounts | None:
        return self.chosen.counts() if self.chosen is not None else None

    def begin_phase(self, name: str, before: str | None) -> None:
        """Begin the phase `name` now, and end the one `before`, if any."""
        phases, now = self._state.evidence.phases, self._state.clock.now_ns()
        if before is not None:
            self._recorder.record_at(PhaseRecord(before, "end", "completed"), now)
            phases.end(now)
            now += 1
        phases.begin(name, now)
        self._recorder.record_at(PhaseRecord(name, "begin"), now)

    def begin_round(self) -> None:
        """Send canaries; whether the probes see them, later events tell."""
        plan, attempts = self._live.keeper.send_canaries()
        self._state.knowledge.canaries.begin(plan)
        self.round = Round(attempts, time.monotonic() + _ROUND_S)

    def look_at_round(self, *, is_last: bool = False) -> None:
        """Record the canaries that were sent, once all are seen or it is too late."""
        if self.round is None:
            return
        canaries, attempts = self._state.knowledge.canaries, self.round.attempts
        is_late = is_last or time.monotonic() >= self.round.until
        if not is_late and not canaries.has_seen(attempts):
            return
        self.round = None
        self._live.keeper.disarm()
        for record in self._live.sensor.prove("during", canaries, attempts):
            self._recorder.record(record)

    def tidy(self) -> None:
        """Let go of what nothing will be told of any more."""
        if self._state.knowledge.processes.proc_is_ours:
            self._pipeline.tidy(host.is_there)
            self._pipeline.forgotten["members"] += self._live.keeper.sweep()

    def beats(self, every_s: float) -> Beats:
        """Return what tells when heartbeats are due."""
        return Beats(every_s, self._state.clock)

    def record_gaps(self, found: Iterable[GapRecord | ClockRecord]) -> None:
        """Record when nobody watched, and how the clock was set."""
        for one in found:
            self._recorder.record(one)
            if isinstance(one, GapRecord) and one.doubt:
                self.doubt(f"there is a gap: {one.reason}")

    def record_heartbeat(self) -> None:
        """Record that the run is alive."""
        attached, probes = self._attached()
        counts = self.counts()
        self._recorder.record(
            HeartbeatRecord(
                connections=counts["connections"],
                queries=counts["queries"],
                processes=counts["processes"],
                losses=self._live.sensor.losses(),
                attached=attached,
                probes=probes,
                forgotten=self._pipeline.counts_of_forgotten(),
                before=self._before,
                doubts=counts["doubts"],
            )
        )
        if attached is None or attached != probes:
            self.doubt("probes were detached during the run, or could not be asked for")

    def doubt(self, why: str) -> None:
        """Let the run be incomplete for this reason, too."""
        doubts = self._state.ending.doubts
        if why not in doubts and len(doubts) < _MAX_DOUBTS:
            doubts.append(why)

    def _attached(self) -> tuple[int | None, int | None]:
        try:
            return self._live.keeper.attached()
        except OSError:
            return None, None

    def counts(self) -> dict[str, Any]:
        """Return what was counted so far."""
        tally = self._state.tally
        return {
            "run": self._state.evidence.run,
            "records": self._state.evidence.records,
            "head": self._state.evidence.head,
            "lost": self._state.evidence.lost,
            "connections": dict(tally.connections),
            "queries": dict(tally.queries),
            "processes": tally.processes,
            "policies": self.reloading.digests(),
            "doubts": len(self._state.ending.doubts) + len(tally.escapes),
            **(self.chosen.status() if self.chosen is not None else {}),
        }

    # Nobody waits for a file here: who started it is told once it really watches.
    def _tell_ready(self) -> None:
        pass

    def _start_command(self) -> None:
        super()._start_command()
        unmatched = self._unmatched_at_start()
        self.notify(State.READY)
        standing = self._state.options.standing
        if standing is None or standing.told is None:
            return
        told = {
            "run": self._state.evidence.run,
            "socket": standing.place.path,
            "evidence": self._state.options.evidence_path,
            "pid": os.getppid(),
            **({"unmatched": unmatched} if self.chosen is not None else {}),
        }
        try:
            os.write(standing.told, json.dumps(told).encode() + b"\n")
        except OSError:
            # It was interrupted, and the token with it: nobody could conclude the run.
            self.doubt("who started it was gone before it watched")
            self.end()
        os.close(standing.told)

    # Whoever starts it is told what is not there yet, which may be a mistake. An engine
    # that takes its time is not waited for.
    def _unmatched_at_start(self) -> list[str]:
        if self.chosen is None or self.containers is None:
            return []
        until = time.monotonic() + _FIRST_S
        while self.containers.is_waiting and time.monotonic() < until:
            self._pipeline.drain(self._live.sensor.read)
            self.containers.attend()
            time.sleep(_TURN_S)
        unmatched = self.chosen.choice.unmatched()
        standing = self._state.options.standing
        if standing is not None and standing.told is None and unmatched:
            sys.stderr.write(not_there_yet(unmatched))
        return unmatched

    def _prove(self) -> list[BlindSpot]:
        self._pipeline.tracker.command = self._live.armed.keeper_setup.child.pid
        self._recorder.hold()  # what others do before all canaries are seen
        if self.chosen is not None:
            around = self._live.armed.around
            members = around.members if around is not None else {}
            processes = self._state.knowledge.processes
            self.chosen.begin(members, processes, host.own_network() or 0)
        kept = self._live.sensor.engine.kept
        if kept is not None:
            self._state.knowledge.canaries.not_before_ns = kept.since_ns
        return super()._prove()

    def _record_start(self) -> None:
        held = self._recorder.held()
        super()._record_start()
        with self._isolated("looking at the run before"):
            self._record_gap_before()
        with self._isolated("recording connections from before"):
            self._record_existing()
        for rendered, ktime_ns in held:
            self._recorder.put_admitted(rendered, ktime_ns)

    def _record_existing(self) -> None:
        sockets = self._live.armed.sockets
        processes = self._state.knowledge.processes
        for one in sockets.found:
            actor = processes.existing_actor(one.pid)
            self._recorder.record(
                ExistingRecord(
                    protocol="tcp",
                    dst=one.address,
                    port=one.port,
                    local=one.local_address,
                    local_port=one.local_port,
                    process=actor,
                    process_reason=None if actor is not None else "it has ended",
                )
            )
        if sockets.why_not_all is not None:
            why = f"connections from before may be missing: {sockets.why_not_all}"
            self.doubt(why)

    def _record_gap_before(self) -> None:
        standing = self._state.options.standing
        if standing is None:
            return
        kept, clock = self._live.sensor.engine.kept, self._state.clock
        if kept is not None and standing.kept is not None:
            losses = self._live.sensor.losses()
            by = standing.kept.store.by
            self._record_restart(
                restart_after(standing.before, kept, by, losses, clock)
            )
            return
        was_left = standing.place.was_left
        gap = gap_before(standing.before, clock, was_left=was_left)
        if standing.not_kept:
            until = clock.rfc3339(clock.now_ns())
            gap = gap_of_refusal(gap, standing.not_kept, until)
        if gap is not None:
            self.record_gaps([gap])

    def _record_restart(self, restart: RestartRecord) -> None:
        self._recorder.record(restart)
        self._before = restart.violations
        if restart.reason is not None:
            self.doubt(f"it goes on from another run: {restart.reason}")

    # Nothing ends with this run but the process that waits for it.
    def _wind_up(self) -> None:
        setup, ending = self._live.armed.keeper_setup, self._state.ending
        self.notify(State.CONCLUDING)
        with self._isolated("seeing the end"):
            self._see_end(setup.child.pid)
        with self._isolated("recording attempts"):
            self.overseer.tell_attempts()
        with self._isolated("waiting for container engines"):
            self._wait_for_engines()
        with self._isolated("testing the probes"):
            self.look_at_round(is_last=True)
        with self._isolated("recording the last heartbeat"):
            self.record_gaps(self.overseer.beats.begin())
            self.record_heartbeat()
        if self._live.attributor is not None:
            with self._isolated("detaching"):
                self._live.attributor.wind_up()
        with self._isolated("reading ahead"):
            self._live.sensor.intake.stop()
        if self.overseer.is_concluded:
            ending.status, ending.signal = 0, None
            return
        ending.doubts.append(f"{NOT_CONCLUDED}: {self._why()}")
        ending.status, ending.signal = 0, None

    # What else is told of meanwhile is read, as the time for that is bounded, too.
    def _wait_for_engines(self) -> None:
        if self.containers is None:
            return
        patience_s = min(_ENGINES_S, self._catch_up.left_s() / 2)
        self.containers.finish(
            patience_s, lambda: self._pipeline.drain(self._live.sensor.read)
        )

    def _why(self) -> str:
        if self.overseer.asked_by is not None:
            return self.overseer.asked_by
        wanted = self._live.armed.keeper_setup.relay.ending
        if wanted.is_set():
            return f"it was ended by {wanted.asker()}"
        return "the process that stands for a command was ended by somebody else"

    # Its end was told before the events that are read last, or soon will be.
    def _see_end(self, pid: int) -> None:
        tracker = self._pipeline.tracker
        while pid not in tracker.ended and not self._catch_up.is_over():
            self._pipeline.drain(self._live.sensor.read)
            time.sleep(_POLL_S)

    # What the scope has not sent yet, it may send after the run.
    def _doubt_unsent(self) -> None:
        pass

    def _conclude(self, blind_spots: list[BlindSpot]) -> Outcome:
        if self.chosen is not None:
            for doubt in self.chosen.doubts():
                self.doubt(doubt)
        outcome = super()._conclude(blind_spots)
        if self.follows is not None:
            outcome.notes.append(goes_on_from(self.follows))
        self._live.sensor.mark_recorded()
        self.overseer.answer(outcome)
        self.notify(State.STOPPING)
        return outcome
