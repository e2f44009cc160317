"""The agent's part of a run, from checking the canaries to writing the last record."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from egressmon.attribution.descent import of_existing
from egressmon.attribution.stage import Attributor, attribute_with
from egressmon.errors import UnfinishedError, UsageError
from egressmon.evidence.anchoring import Anchor
from egressmon.evidence.output import EvidenceState
from egressmon.evidence.records import Record
from egressmon.evidence.records.running import (
    BlindSpot,
    ChoiceCounts,
    PolicyCounts,
    RunEnd,
)
from egressmon.keeping.keeper_client import KeeperClient
from egressmon.naming.names import read_hosts_file
from egressmon.naming.places import Look
from egressmon.pipeline import Pipeline
from egressmon.reports.runs.outcome import Outcome
from egressmon.runs import doubts
from egressmon.runs.arming import Armed
from egressmon.runs.assemble import Wiring, assemble
from egressmon.runs.catch_up import CatchUp
from egressmon.runs.conclude import Findings, end_record
from egressmon.runs.follow import Follower, Listening, reap
from egressmon.runs.inner import InnerRuns
from egressmon.runs.recorder import Recorder, Watcher
from egressmon.runs.start_record import blind_spots_of, start_record
from egressmon.runs.state import RunState
from egressmon.runs.unsent import wait_for_unsent
from egressmon.sensor.canary import CanaryTime
from egressmon.sensor.scope import Scope
from egressmon.sensor.sensor import Sensor
from egressmon.text import from_bytes
from egressmon.verdicts.listeners import Listeners


class Live(NamedTuple):
    """What the session works with: attached probes, and a command that waits."""

    scope: Scope
    sensor: Sensor
    attributor: Attributor | None
    armed: Armed
    keeper: KeeperClient


class Listener(Listening, Watcher, Protocol):
    """As `Listening`, and it learns from each record."""


class Session:
    """Follows one run to its end and records it; it needs no rights."""

    def __init__(
        self,
        state: RunState,
        live: Live,
        listeners: Listeners,
        on_record: Callable[[Record], None],
    ) -> None:
        """`on_record` is called with each record, in order."""
        self._state = state
        self._live = live
        self._isolated = state.faults.isolated
        self._catch_up = CatchUp(state.options.catch_up_s)
        self._starts_by: float | None = None
        state.evidence.is_over = self._is_too_late
        self._opening: list[Record] = []
        """The first records, of when the command could start."""
        self._proved_ns = 0
        self._inner = InnerRuns()
        watchers: list[Watcher] = [live.armed.escalation, self._inner]
        self._recorder = Recorder(state, watchers, on_record)
        self._control = self._listen()
        if self._control is not None:
            watchers.append(self._control)
        self._learn_what_is_there()
        own = self._own_processes()
        self._pipeline = self._assemble(listeners, own)
        self._follower = Follower(
            live.keeper,
            live.sensor,
            self._pipeline,
            state.knowledge.processes,
            self._recorder.record,
            state.faults,
            own,
            self._catch_up,
            self._control,
        )

    # The names of the hosts file, and the processes that were there before.
    def _learn_what_is_there(self) -> None:
        knowledge, armed = self._state.knowledge, self._live.armed
        for address, name in read_hosts_file(Path("/etc/hosts")):
            knowledge.names.learn(address, name, "hosts-file")
        standing = self._state.options.standing
        job = standing.job if standing is not None else None
        descents = of_existing([*armed.existing, *armed.above], job)
        knowledge.processes.add_existing(armed.existing, descents)

    # Egressmon's helpers that may be in the scope; None stands for one that is not.
    def _own_processes(self) -> set[int | None]:
        attributor, armed = self._live.attributor, self._live.armed
        return {
            attributor.helper if attributor is not None else None,
            armed.keeper_setup.relay.witness.pid,
            armed.around.asker if armed.around is not None else None,
        }

    def _listen(self) -> "Listener | None":
        state, connection = self._state, self._state.options.control
        if connection is None:
            return None
        phases, record_at = state.evidence.phases, self._recorder.record_at
        from egressmon.runs.control import Control  # noqa: PLC0415 -- only for prove

        command = self._live.armed.keeper_setup.child.pid
        return Control(
            connection, phases, record_at, state.tally, state.faults, command
        )

    def _assemble(self, listeners: Listeners, own: set[int | None]) -> Pipeline:
        state, attributor = self._state, self._live.attributor
        level = state.options.attribution
        return assemble(
            Wiring(
                state.judge,
                state.knowledge,
                who_listens=listeners.who,
                before_unnamed=state.resolution.finish,
                attribute=attribute_with(attributor, level, state.faults),
                attributor=attributor,
                clock=state.clock,
                faults=state.faults,
                sink=self._recorder.record_at,
                is_over=self._catch_up.is_over,
                may_translate=self._live.armed.surroundings.may_change_network,
                lines=self._recorder,
                look=self._look(),
                is_machine=listeners.is_machine,
                is_part=state.options.chooses,
                excuses_unsent=state.options.standing is not None,
                own=frozenset(one for one in (*own, os.getpid(), os.getppid()) if one),
                phase_at=state.evidence.phases.at,
            )
        )

    # How a process looks names up: where each network has names of its own.
    def _look(self) -> Look | None:
        return None

    def execute(self) -> Outcome:
        """Run the command, and return how it went.

        Raises `SensorError` if the probes see no canary (the command is then not
        started), and `UnfinishedError` if the evidence cannot be completed.
        """
        blind_spots = self._prove()
        self._follow()
        self._doubt_unsent()
        try:
            return self._conclude(blind_spots)
        except Exception as error:
            raise UnfinishedError(
                f"the evidence could not be finished: {error!r}",
                "what was recorded so far stands; please report this",
            ) from error

    # While the command's process waits, check that the probes saw its canaries.
    def _prove(self) -> list[BlindSpot]:
        options, (scope, sensor, attributor, armed, keeper) = (
            self._state.options,
            self._live,
        )
        canaries = self._state.knowledge.canaries
        canaries.begin(armed.plan)
        if attributor is not None:
            path = options.user.environment.get(b"PATH", b"")
            attributor.prepare(options.command, path)
        attempts = armed.keeper_setup.child.attempts()
        self._pipeline.drain(sensor.read)
        proof = sensor.prove("start", canaries, attempts)
        if attributor is not None:
            attributor.settle()
        keeper.disarm()
        frames = options.attribution == "full"
        blind_spots = blind_spots_of(scope, sensor, attributor, armed, frames=frames)
        self._opening = [start_record(self._state, sensor, scope, blind_spots), *proof]
        self._proved_ns = self._state.clock.now_ns()
        return blind_spots

    # From the command's exec to the end of its last descendant. Whatever fails on our
    # side, the command runs on, and the failure is recorded.
    def _follow(self) -> None:
        options, ending = self._state.options, self._state.ending
        keeper, setup = self._live.keeper, self._live.armed.keeper_setup
        follower, isolated = self._follower, self._isolated
        self._state.resolution.start()
        with isolated("recording the start"):
            self._record_start()
        self._tell_ready()
        with isolated("starting the command"):
            self._start_command()
        with isolated("reading ahead"):
            self._live.sensor.intake.start()
        with isolated("following the command"):
            follower.until_command_ends(
                setup.child, ending, setup.relay.ending, options.linger_s
            )
        with isolated("waiting for the command"):
            if not ending.is_known:
                reap(keeper, ending)
        with isolated("following what the command left"):
            wanted = setup.relay.ending
            follower.linger(wanted, options.linger_s, quiet=options.quiet)
        self._wind_up()

    def _tell_ready(self) -> None:
        try:
            self._live.keeper.say_ready()
        except OSError as error:
            raise UsageError(
                f"the file of --ready-file could not be made: {error.strerror}",
                "name a writable file",
            ) from error

    # Whether the evidence's reader is waited for no longer: the command must start, and
    # the run must end.
    def _is_too_late(self) -> bool:
        if self._starts_by is not None and time.monotonic() >= self._starts_by:
            return True
        return self._catch_up.is_over()

    def _start_command(self) -> None:
        ending = self._state.ending
        try:
            ending.exec_errno = self._live.keeper.go()
        except OSError:
            ending.doubts.append("the command's process was ended before its exec")

    # First of all: whatever the command does then, the evidence says that it was run,
    # and what would not be seen.
    def _record_start(self) -> None:
        self._starts_by = time.monotonic() + self._state.options.catch_up_s
        with self._live.sensor.intake.working():
            for record in self._opening:
                self._recorder.record_at(record, self._proved_ns)
        self._starts_by = None

    def _wind_up(self) -> None:
        ending, isolated, follower = self._state.ending, self._isolated, self._follower
        attributor = self._live.attributor
        with isolated("detaching"):
            if attributor is not None:
                if attributor.is_cut_short:
                    ending.doubts.append(
                        "the process that watches who creates tasks was ended"
                    )
                attributor.wind_up()
        with isolated("reading ahead"):
            self._live.sensor.intake.stop()
        with isolated("looking for what still runs"):
            ending.outlived = follower.outlived()
            # The command can send such a signal itself, and go on unwatched.
            if ending.outlived and self._state.options.linger_s is None:
                ending.doubts.append("a signal ended the run while processes ran on")
        with isolated("waiting for the last ends"):
            if unseen_exits := follower.wait_for_exits():
                ending.doubts.append(
                    f"the end of {unseen_exits} processes was not seen"
                )
        if follower.was_moved:
            ending.doubts.append("egressmon's own processes were moved into the scope")

    def _doubt_unsent(self) -> None:
        ending = self._state.ending
        with self._isolated("looking for what is still unsent"):
            drain = partial(self._pipeline.drain, self._live.sensor.read)
            patience_s = self._catch_up.left_s()
            if doubt := wait_for_unsent(self._live.scope.path, drain, patience_s):
                ending.doubts.append(doubt)
            if self._pipeline.queries.unasked_streams:
                ending.doubts.append(
                    "there was DNS over MPTCP, or over TCP in another network "
                    "namespace: whether all of it was sent before the end is not known"
                )

    def _conclude(self, blind_spots: list[BlindSpot]) -> Outcome:
        with self._isolated("sending the last canaries"):
            self._send_canaries("end")
        doubts.add_changes(self._state, self._live.armed)
        with self._isolated("recording look-ups without an answer"):
            self._pipeline.finish()
        with self._isolated("recording losses"):
            for loss in self._live.sensor.new_losses():
                self._recorder.record(loss)
        end = self._record_end()
        options, evidence = self._state.options, self._state.evidence
        return Outcome(
            end=end,
            tally=self._state.tally,
            blind_spots=[spot.name for spot in blind_spots],
            evidence_path=options.evidence_path,
            evidence_failure=evidence.failure,
            evidence_records=evidence.records,
            evidence_head=evidence.head,
            policy=options.loaded.path,
            enforce=options.enforce,
            exec_errno=self._state.ending.exec_errno,
            notes=[
                *self._live.armed.escalation.notes(),
                *self._inner.notes(),
                *_anchor_notes(options.anchor),
            ],
            command=from_bytes(options.command[0]),
        )

    # Write the last record. If that itself failed, or the file was changed meanwhile,
    # the run ends as the returned record says, which is not in the evidence.
    def _record_end(self) -> RunEnd:
        evidence = self._state.evidence
        end = end_record(self._findings(evidence.examine()))
        self._recorder.record(end)
        state = evidence.examine()
        evidence.close()
        if evidence.failure is not None or state != end.evidence:
            return end_record(self._findings(state))
        return end

    def _send_canaries(self, when: CanaryTime) -> None:
        sensor, keeper = self._live.sensor, self._live.keeper
        canaries = self._state.knowledge.canaries
        plan, attempts = keeper.send_canaries()
        try:
            canaries.begin(plan)
            self._pipeline.drain(sensor.read)
        finally:
            keeper.disarm()
        for record in sensor.prove(when, canaries, attempts):
            self._recorder.record(record)

    # Only a run that lasts can have several.
    def _policies(self) -> list[PolicyCounts]:
        return []

    # Only a run that lasts chooses.
    def _choice(self) -> ChoiceCounts | None:
        return None

    def _findings(self, evidence_state: EvidenceState) -> Findings:
        state = self._state
        return Findings(
            options=state.options,
            ending=state.ending,
            sensor=self._live.sensor,
            pipeline=self._pipeline,
            tally=state.tally,
            faults=state.faults,
            evidence_failure=state.evidence.failure,
            evidence_state=evidence_state,
            evidence_left_out=state.evidence.left_out,
            evidence_lost=state.evidence.lost,
            duration_ms=(state.clock.now_ns() - state.began_ns) // 1_000_000,
            policies=self._policies(),
            choice=self._choice(),
        )


def _anchor_notes(anchor: Anchor | None) -> list[str]:
    if anchor is None or anchor.failure is None:
        return []
    return [f"the last head is not where --anchor says: {anchor.failure}"]
