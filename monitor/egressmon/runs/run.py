"""One watched run, from an armed sensor to a finished file of evidence."""

import os
import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from egressmon import host
from egressmon.attribution.processes import Processes
from egressmon.attribution.stage import attribute_with, attributor_for
from egressmon.clock import Clock
from egressmon.errors import UnfinishedError
from egressmon.evidence.masking import sanitise_record
from egressmon.evidence.records import Record, RunStart
from egressmon.evidence.tally import Tally
from egressmon.evidence.writer import Evidence, EvidenceState
from egressmon.faults import Faults
from egressmon.files.beginning import Beginning
from egressmon.keeping.kept import Kept
from egressmon.keeping.split import split
from egressmon.naming.names import (
    Names,
    read_hosts_file,
    read_resolver,
    trusted_resolvers,
)
from egressmon.naming.resolution import PolicyResolution
from egressmon.pipeline import Pipeline
from egressmon.policy.judge import Judge
from egressmon.probes.engine import Engine
from egressmon.reports.outcome import Outcome
from egressmon.runs.arming import arm
from egressmon.runs.assemble import Knowledge, assemble
from egressmon.runs.conclude import Findings, end_record
from egressmon.runs.follow import Follower, reap
from egressmon.runs.plan import Ending, RunOptions
from egressmon.runs.unsent import wait_for_unsent
from egressmon.sanitise import sanitise_argv
from egressmon.sensor import blind_spots
from egressmon.sensor.canary import CanaryWatch
from egressmon.sensor.scope import Scope, make_scope
from egressmon.sensor.sensor import Sensor
from egressmon.startup import caller
from egressmon.text import from_bytes
from egressmon.verdicts.listeners import Listeners


def run_identifier() -> str:
    """Return a new run's name: when it began, and something random."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{now}-{secrets.token_hex(4)}"


class Run:
    """A run: made, executed once, and done."""

    def __init__(
        self,
        options: RunOptions,
        identifier: str,
        also: Callable[[Record], None] = lambda _record: None,
    ) -> None:
        """Records also go to the function also, in order."""
        self._options = options
        self._clock = Clock()
        self._began_ns = self._clock.now_ns()
        self._evidence = Evidence(
            options.evidence_file,
            identifier,
            self._clock,
            options.evidence_error,
            options.evidence_limit,
            options.evidence_path,
        )
        self._also = also
        self._faults = Faults(verbose=options.verbose)
        self._tally = Tally()
        self._ending = Ending()
        self._names = Names()
        self._canaries = CanaryWatch()
        self._beginning = Beginning(host.home_of(options.user.uid))
        self._processes = Processes(
            proc_is_ours=host.proc_is_ours(),
            argv=options.argv,
            beginning=self._beginning,
        )
        policy = options.loaded.policy
        self._resolution = PolicyResolution(policy, self._names)
        resolver = read_resolver(Path("/etc/resolv.conf"))
        self._judge = Judge(
            policy, trusted_resolvers(policy, resolver), resolver.search
        )
        self._process_began_s = host.process_start_s()

    def execute(self, engine: Engine) -> Outcome:
        """Run the command under the loaded engine and return how it went.

        It returns in another process than it was called in, without rights. Raises an
        error with a hint where nothing could be monitored; then the command was not
        started.
        """
        scope = make_scope()
        level = self._options.attribution
        self._attributor = attributor_for(level, engine, self._beginning)
        callers = self._attributor is not None
        self._sensor = Sensor(engine, scope, self._faults, callers=callers)
        try:
            self._armed = arm(self._sensor, self._attributor, scope, self._options)
        except BaseException:
            self._close()
            engine.close()
            scope.remove()
            raise
        if self._armed.no_network is not None:
            self._ending.doubts.append(self._armed.no_network)
        kept = split(self._armed.keeping, self._sensor.open_side_band)
        with closing(Listeners(scope.path)) as listeners:
            try:
                self._pipeline = self._make_pipeline(listeners)
                self._arm(scope, kept)
                self._follow(kept)
                self._doubt_unsent(scope)
                return self._finished(kept)
            finally:
                self._close()

    def _close(self) -> None:
        closings = [self._sensor.close]
        if self._attributor is not None:
            closings.append(self._attributor.close)
        for close in closings:
            with self._faults.isolated("closing"):  # what was found out stands
                close()

    def _make_pipeline(self, listeners: Listeners) -> Pipeline:
        for address, name in read_hosts_file(Path("/etc/hosts")):
            self._names.learn(address, name, "hosts-file")
        level = self._options.attribution
        return assemble(
            self._judge,
            Knowledge(self._names, self._processes, self._canaries),
            who_listens=listeners.who,
            before_unnamed=self._resolution.finish,
            attribute=attribute_with(self._attributor, level, self._faults),
            attributor=self._attributor,
            clock=self._clock,
            faults=self._faults,
            sink=self._record_at,
        )

    # The command's process waits in the scope; the sensor proves itself.
    def _arm(self, scope: Scope, kept: Kept) -> None:
        options, armed = self._options, self._armed
        self._canaries.begin(armed.plan)
        attributor = self._attributor
        if attributor is not None:
            path = options.user.environment.get(b"PATH", b"")
            attributor.prepare(options.command, path)
        self._pipeline.drain(self._sensor.read)
        attempts = armed.keeping.child.attempts
        proof = self._sensor.prove("start", self._canaries, attempts)
        if attributor is not None:
            attributor.settle()
        kept.disarm()
        self._record(self._start_record(scope))
        for record in proof:
            self._record(record)

    def _record(self, record: Record) -> None:
        self._record_at(record, self._clock.now_ns())

    def _record_at(self, record: Record, ktime_ns: int) -> None:
        record = sanitise_record(record)
        written = self._evidence.write(record, ktime_ns)
        self._tally.add(record, written=written)
        self._armed.escalation.saw(record)
        try:
            self._also(record)
        except Exception as error:  # noqa: BLE001 -- it is recorded
            self._faults.note("learning from a record", error)

    def _start_record(self, scope: Scope) -> RunStart:
        options, engine = self._options, self._sensor.engine
        command = [from_bytes(word) for word in options.command]
        attributor = self._attributor
        self._blind_spots = blind_spots.declared(
            engine,
            self._sensor.no_mappings,
            attributor.no_creators if attributor is not None else "",
            around=self._armed.around,
            frames=options.attribution == "full",
        ) + blind_spots.of_command(self._armed.escalation)
        return RunStart(
            egressmon=host.egressmon_version(),
            engine=f"{engine.name} {engine.version}",
            engine_reason=engine.reason,
            kernel=host.kernel(),
            machine=os.uname().machine,
            host=os.uname().nodename,
            scope=str(scope.path),
            user=options.user.uid,
            command=sanitise_argv(command, options.argv),
            argv=options.argv,
            cwd=_cwd(),
            policy=str(options.loaded.path) if options.loaded.path else None,
            policy_digest=options.loaded.digest,
            enforce=options.enforce,
            resolvers=sorted(map(str, self._judge.resolvers)),
            hooks=engine.hooks,
            blind_spots=self._blind_spots,
            attribution=options.attribution,
            armed_ms=host.age_ms(self._process_began_s),
        )

    # From the command's first instruction to its last descendant's end. Whatever
    # goes wrong on our side, the command runs on, and the evidence says so.
    def _follow(self, kept: Kept) -> None:
        options, ending, keeping = self._options, self._ending, self._armed.keeping
        self._resolution.start()
        follower = Follower(
            kept,
            self._sensor,
            self._pipeline,
            self._processes,
            self._record,
            self._faults,
            self._attributor.helper if self._attributor is not None else None,
        )
        kept.say_ready()
        isolated = self._faults.isolated
        with isolated("starting the command"):
            self._start_command(kept)
        with isolated("reading ahead"):
            self._sensor.intake.start()
        with isolated("following the command"):
            follower.until_command_ends(keeping.child, ending)
        with isolated("waiting for the command"):
            if not ending.is_known:
                reap(kept, ending)
        with isolated("following what the command left"):
            wanted = keeping.relay.ending
            follower.linger(wanted, options.linger_s, quiet=options.quiet)
        self._wind_up(follower)

    def _wind_up(self, follower: Follower) -> None:
        ending, isolated = self._ending, self._faults.isolated
        with isolated("detaching"):
            if self._attributor is not None:
                if self._attributor.is_cut_short:
                    ending.doubts.append(
                        "the process that watches who creates tasks was ended"
                    )
                self._attributor.wind_up()
        with isolated("reading ahead"):
            self._sensor.intake.stop()
        with isolated("looking for what still runs"):
            ending.outlived = follower.outlived()
        with isolated("waiting for the last ends"):
            if untold := follower.settle():
                ending.doubts.append(f"the end of {untold} processes was not seen")
        if follower.was_moved:
            ending.doubts.append("egressmon's own processes were moved into the scope")

    def _doubt_unsent(self, scope: Scope) -> None:
        with self._faults.isolated("looking for what is still unsent"):
            drain = partial(self._pipeline.drain, self._sensor.read)
            if doubt := wait_for_unsent(scope.path, drain):
                self._ending.doubts.append(doubt)
            if self._pipeline.queries.unasked_streams:
                self._ending.doubts.append(
                    "there was DNS over MPTCP, or over TCP in another network "
                    "namespace: whether all of it was sent before the end is not known"
                )

    def _start_command(self, kept: Kept) -> None:
        try:
            self._ending.exec_errno = kept.go()
        except OSError:
            self._ending.doubts.append(
                "the command's process was ended before its exec"
            )

    def _finished(self, kept: Kept) -> Outcome:
        try:
            return self._conclude(kept)
        except Exception as error:
            raise UnfinishedError(
                f"the evidence could not be finished: {error!r}",
                "what was recorded so far stands; please report this",
            ) from error

    def _conclude(self, kept: Kept) -> Outcome:
        isolated = self._faults.isolated
        with isolated("sending the last canaries"):
            self._last_canaries(kept)
        with isolated("looking for changes of the network"):
            self._doubt_network()
        with isolated("looking for sudo"):
            self._doubt_sudo()
        with isolated("looking for the summary page"):
            self._doubt_page()
        with isolated("recording look-ups without an answer"):
            self._pipeline.finish()
        with isolated("recording losses"):
            for loss in self._sensor.new_losses():
                self._record(loss)
        end = end_record(self._findings())
        self._record(end)
        state = self._evidence.examine()
        self._evidence.close()
        # The disk may have filled, or the file have changed, at the very end.
        if self._evidence.failure is not None or state != end.evidence:
            end = end_record(self._findings(state))
        return Outcome(
            end=end,
            tally=self._tally,
            blind_spots=[spot.name for spot in self._blind_spots],
            evidence_path=self._options.evidence_path,
            evidence_failure=self._evidence.failure,
            evidence_records=self._evidence.records,
            evidence_head=self._evidence.head,
            policy=self._options.loaded.path,
            enforce=self._options.enforce,
            exec_errno=self._ending.exec_errno,
            notes=self._armed.escalation.notes(),
            command=from_bytes(self._options.command[0]),
        )

    def _doubt_sudo(self) -> None:
        sudo = caller.calling_sudo()
        if sudo is not None and sudo.has_ended():
            self._ending.doubts.append(
                "sudo, which called, was ended: its status is not this run's"
            )

    def _doubt_page(self) -> None:
        page = self._options.page
        if page is not None and (why := page.why_not_ours()):
            self._ending.doubts.append(why)

    def _doubt_network(self) -> None:
        if self._armed.network is not None:
            self._ending.doubts += [
                f"the network was changed during the run: {change}"
                for change in self._armed.network.changes()
            ]

    def _last_canaries(self, kept: Kept) -> None:
        plan, attempts = kept.send_canaries()
        try:
            self._canaries.begin(plan)
            self._pipeline.drain(self._sensor.read)
        finally:
            kept.disarm()
        for record in self._sensor.prove("end", self._canaries, attempts):
            self._record(record)

    def _findings(self, state: EvidenceState | None = None) -> Findings:
        return Findings(
            options=self._options,
            ending=self._ending,
            sensor=self._sensor,
            pipeline=self._pipeline,
            names=self._names,
            tally=self._tally,
            faults=self._faults,
            evidence_failure=self._evidence.failure,
            evidence_state=state or self._evidence.examine(),
            evidence_left_out=self._evidence.left_out,
            duration_ms=(self._clock.now_ns() - self._began_ns) // 1_000_000,
        )


def _cwd() -> str | None:
    try:
        return from_bytes(os.fsencode(Path.cwd()))
    except OSError:
        return None
