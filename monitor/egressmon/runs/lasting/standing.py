"""A run that lasts: it watches what is there, until somebody ends it.

The part of a command is played by a process that only waits, in a cgroup of our own:
that it is executed and ends is seen as any command's is, and proves as much.
"""

import json
import os
import sys
import time

from egressmon import host
from egressmon.attribution import steps
from egressmon.attribution.packages import rpm
from egressmon.containers.choice import Choice
from egressmon.evidence.predecessor import NOT_CONCLUDED
from egressmon.evidence.records import Record
from egressmon.evidence.records.lasting import RestartRecord
from egressmon.evidence.records.running import BlindSpot, ChoiceCounts, PolicyCounts
from egressmon.naming.dns import servers
from egressmon.naming.places import Look
from egressmon.naming.served import Served
from egressmon.reports.runs.outcome import Outcome
from egressmon.runs.lasting.asked import AskedSession
from egressmon.runs.lasting.before import existing_records, run_before
from egressmon.runs.lasting.chosen import Chosen
from egressmon.runs.lasting.looking import looker
from egressmon.runs.lasting.overseer import Overseer
from egressmon.runs.lasting.reloading import Reloading
from egressmon.runs.lasting.rounds import Rounds
from egressmon.sidecar.matching import not_there_yet
from egressmon.sidecar.notifying import State
from egressmon.sidecar.stopped import goes_on_from
from egressmon.verdicts import relays

# What is needed once the rights are gone is imported before: egressmon's files may be
# root's alone.
IMPORTED_BEFORE = (relays, rpm, servers, steps)
WAITING = ["/bin/sleep", "infinity"]
_POLL_S = 0.1
_FIRST_S, _TURN_S = 1.0, 0.01
_ENGINES_S = 3.0
"""How long the run's end waits for what container engines are asked."""


class StandingSession(AskedSession):
    """Follows a scope that was there before, until somebody ends the run."""

    overseer: Overseer

    def _listen(self) -> Overseer:
        standing = self._state.options.standing
        if standing is None:
            raise TypeError("not a run that lasts")
        canaries = self._state.knowledge.canaries
        self.rounds = Rounds(self._live, canaries, self._recorder.record)
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
        self._state.knowledge.canaries.netns = host.own_network()
        self.served = Served()
        return looker(self._state, self.served)

    # What was kept until it was known whose it is, is recorded after who that is.
    def _tell_container(self, record: Record) -> None:
        self.record(record)
        if self.chosen is not None:
            self.chosen.release()

    def _policies(self) -> list[PolicyCounts]:
        return self.reloading.policies()

    def _choice(self) -> ChoiceCounts | None:
        return self.chosen.counts() if self.chosen is not None else None

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
            self._record_before()
        with self._isolated("recording connections from before"):
            self._record_existing()
        for rendered, ktime_ns in held:
            self._recorder.put_admitted(rendered, ktime_ns)

    def _record_before(self) -> None:
        standing = self._state.options.standing
        if standing is None:
            return
        found = run_before(standing, self._live.sensor, self._state.clock)
        if isinstance(found, RestartRecord):
            self._recorder.record(found)
            self._before = found.violations
            if found.reason is not None:
                self.doubt(f"it goes on from another run: {found.reason}")
        elif found is not None:
            self.record_gaps([found])

    def _record_existing(self) -> None:
        sockets = self._live.armed.sockets
        processes = self._state.knowledge.processes
        for record in existing_records(sockets.found, processes):
            self._recorder.record(record)
        if sockets.why_not_all is not None:
            why = f"connections from before may be missing: {sockets.why_not_all}"
            self.doubt(why)

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
            self.rounds.look(is_last=True)
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
