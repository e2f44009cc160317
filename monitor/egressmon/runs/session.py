"""The agent's part of a run: from the proof that it sees to the last record."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from egressmon.attribution.stage import Attributor, attribute_with
from egressmon.errors import UnfinishedError
from egressmon.evidence.records import BlindSpot, Record
from egressmon.evidence.writer import EvidenceState
from egressmon.keeping.kept import Kept
from egressmon.naming.names import read_hosts_file
from egressmon.reports.outcome import Outcome
from egressmon.runs import doubts
from egressmon.runs.arming import Armed
from egressmon.runs.assemble import assemble
from egressmon.runs.conclude import Findings, end_record
from egressmon.runs.follow import Follower, reap
from egressmon.runs.recorder import Recorder
from egressmon.runs.start_record import blind_spots_of, start_record
from egressmon.runs.state import RunState
from egressmon.runs.unsent import wait_for_unsent
from egressmon.sensor.scope import Scope
from egressmon.sensor.sensor import Sensor
from egressmon.text import from_bytes
from egressmon.verdicts.listeners import Listeners


class Live(NamedTuple):
    """What is attached, and the command that waits."""

    scope: Scope
    sensor: Sensor
    attributor: Attributor | None
    armed: Armed
    kept: Kept


class Session:
    """Reads, records and concludes, without rights."""

    def __init__(
        self,
        state: RunState,
        live: Live,
        listeners: Listeners,
        also: Callable[[Record], None],
    ) -> None:
        """Records also go to `also`, in order."""
        self._state = state
        self._live = live
        self._isolated = state.faults.isolated
        self._recorder = Recorder(state, live.armed.escalation, also)
        names, level = state.knowledge.names, state.options.attribution
        for address, name in read_hosts_file(Path("/etc/hosts")):
            names.learn(address, name, "hosts-file")
        self._pipeline = assemble(
            state.judge,
            state.knowledge,
            who_listens=listeners.who,
            before_unnamed=state.resolution.finish,
            attribute=attribute_with(live.attributor, level, state.faults),
            attributor=live.attributor,
            clock=state.clock,
            faults=state.faults,
            sink=self._recorder.record_at,
        )
        helper = live.attributor.helper if live.attributor is not None else None
        self._follower = Follower(
            live.kept,
            live.sensor,
            self._pipeline,
            state.knowledge.processes,
            self._recorder.record,
            state.faults,
            helper,
        )

    def execute(self) -> Outcome:
        """Have the command run, and return how it went.

        Raises SensorError where the probes see nothing; then it was not started.
        """
        unseen = self._prove()
        self._follow()
        self._doubt_unsent()
        try:
            return self._conclude(unseen)
        except Exception as error:
            raise UnfinishedError(
                f"the evidence could not be finished: {error!r}",
                "what was recorded so far stands; please report this",
            ) from error

    # The command's process waits in the scope; the sensor proves itself.
    def _prove(self) -> list[BlindSpot]:
        options, (scope, sensor, attributor, armed, kept) = (
            self._state.options,
            self._live,
        )
        canaries = self._state.knowledge.canaries
        canaries.begin(armed.plan)
        if attributor is not None:
            path = options.user.environment.get(b"PATH", b"")
            attributor.prepare(options.command, path)
        self._pipeline.drain(sensor.read)
        proof = sensor.prove("start", canaries, armed.keeping.child.attempts)
        if attributor is not None:
            attributor.settle()
        kept.disarm()
        frames = options.attribution == "full"
        unseen = blind_spots_of(sensor, attributor, armed, frames=frames)
        self._recorder.record(start_record(self._state, sensor, scope, unseen))
        for record in proof:
            self._recorder.record(record)
        return unseen

    # From the command's first instruction to its last descendant's end. Whatever
    # goes wrong on our side, the command runs on, and the evidence says so.
    def _follow(self) -> None:
        options, ending = self._state.options, self._state.ending
        kept, keeping = self._live.kept, self._live.armed.keeping
        follower, isolated = self._follower, self._isolated
        self._state.resolution.start()
        kept.say_ready()
        with isolated("starting the command"):
            self._start_command()
        with isolated("reading ahead"):
            self._live.sensor.intake.start()
        with isolated("following the command"):
            follower.until_command_ends(keeping.child, ending)
        with isolated("waiting for the command"):
            if not ending.is_known:
                reap(kept, ending)
        with isolated("following what the command left"):
            wanted = keeping.relay.ending
            follower.linger(wanted, options.linger_s, quiet=options.quiet)
        self._wind_up()

    def _start_command(self) -> None:
        ending = self._state.ending
        try:
            ending.exec_errno = self._live.kept.go()
        except OSError:
            ending.doubts.append("the command's process was ended before its exec")

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
        with isolated("waiting for the last ends"):
            if untold := follower.settle():
                ending.doubts.append(f"the end of {untold} processes was not seen")
        if follower.was_moved:
            ending.doubts.append("egressmon's own processes were moved into the scope")

    def _doubt_unsent(self) -> None:
        ending = self._state.ending
        with self._isolated("looking for what is still unsent"):
            drain = partial(self._pipeline.drain, self._live.sensor.read)
            if doubt := wait_for_unsent(self._live.scope.path, drain):
                ending.doubts.append(doubt)
            if self._pipeline.queries.unasked_streams:
                ending.doubts.append(
                    "there was DNS over MPTCP, or over TCP in another network "
                    "namespace: whether all of it was sent before the end is not known"
                )

    def _conclude(self, unseen: list[BlindSpot]) -> Outcome:
        isolated, record = self._isolated, self._recorder.record
        evidence = self._state.evidence
        with isolated("sending the last canaries"):
            self._last_canaries()
        doubts.look_back(self._state, self._live.armed)
        with isolated("recording look-ups without an answer"):
            self._pipeline.finish()
        with isolated("recording losses"):
            for loss in self._live.sensor.new_losses():
                record(loss)
        end = end_record(self._findings(evidence.examine()))
        record(end)
        state = evidence.examine()
        evidence.close()
        # The disk may have filled, or the file have changed, at the very end.
        if evidence.failure is not None or state != end.evidence:
            end = end_record(self._findings(state))
        options = self._state.options
        return Outcome(
            end=end,
            tally=self._state.tally,
            blind_spots=[spot.name for spot in unseen],
            evidence_path=options.evidence_path,
            evidence_failure=evidence.failure,
            evidence_records=evidence.records,
            evidence_head=evidence.head,
            policy=options.loaded.path,
            enforce=options.enforce,
            exec_errno=self._state.ending.exec_errno,
            notes=self._live.armed.escalation.notes(),
            command=from_bytes(options.command[0]),
        )

    def _last_canaries(self) -> None:
        sensor, kept = self._live.sensor, self._live.kept
        canaries = self._state.knowledge.canaries
        plan, attempts = kept.send_canaries()
        try:
            canaries.begin(plan)
            self._pipeline.drain(sensor.read)
        finally:
            kept.disarm()
        for record in sensor.prove("end", canaries, attempts):
            self._recorder.record(record)

    def _findings(self, evidence_state: EvidenceState) -> Findings:
        state = self._state
        return Findings(
            options=state.options,
            ending=state.ending,
            sensor=self._live.sensor,
            pipeline=self._pipeline,
            names=state.knowledge.names,
            tally=state.tally,
            faults=state.faults,
            evidence_failure=state.evidence.failure,
            evidence_state=evidence_state,
            evidence_left_out=state.evidence.left_out,
            duration_ms=(state.clock.now_ns() - state.began_ns) // 1_000_000,
        )
