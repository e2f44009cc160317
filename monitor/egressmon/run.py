"""One watched run, from an armed sensor to a finished file of evidence."""

import os
import secrets
import traceback
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from egressmon import blind_spots, host
from egressmon.arming import Armed, arm
from egressmon.canary import CanaryWatch
from egressmon.clock import Clock
from egressmon.conclude import Findings, end_record
from egressmon.connections import Connections, Locality
from egressmon.errors import UnfinishedError
from egressmon.evidence import Evidence
from egressmon.follow import Follower, reap
from egressmon.keeper import Keeping
from egressmon.kept import Kept
from egressmon.listeners import Listeners
from egressmon.names import Names, read_hosts_file, read_resolver, trusted_resolvers
from egressmon.outcome import Ending, Outcome, RunOptions
from egressmon.pipeline import Pipeline
from egressmon.policy.judge import Judge
from egressmon.probes.engine import Engine
from egressmon.processes import Processes
from egressmon.queries import Queries
from egressmon.records import Record, RunStart
from egressmon.resolution import PolicyResolution
from egressmon.sanitise import sanitise_argv
from egressmon.scope import Scope, make_scope
from egressmon.split import split
from egressmon.tally import Tally
from egressmon.text import from_bytes


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
            options.evidence_file, identifier, self._clock, options.evidence_error
        )
        self._also = also
        self._tally = Tally()
        self._ending = Ending()
        self._names = Names()
        self._canaries = CanaryWatch()
        self._processes = Processes(proc_is_ours=host.proc_is_ours())
        self._resolution = PolicyResolution(options.loaded.policy, self._names)
        self._process_began_s = host.process_start_s()

    def execute(self, engine: Engine) -> Outcome:
        """Run the command under the loaded engine and return how it went.

        It returns in another process than it was called in, without rights. Raises an
        error with a hint where nothing could be monitored; then the command was not
        started.
        """
        scope = make_scope()
        try:
            armed = arm(engine, scope, self._options)
        except BaseException:
            engine.close()
            scope.remove()
            raise
        self._sensor, self._escalation = armed.sensor, armed.escalation
        kept = split(armed.keeping, lambda: armed.sensor.open_side_band(scope))
        with closing(Listeners(scope.path)) as listeners, closing(self._sensor):
            self._pipeline = self._make_pipeline(listeners)
            self._arm(scope, kept, armed)
            self._follow(kept, armed.keeping)
            return self._finished(kept)

    def _make_pipeline(self, listeners: Listeners) -> Pipeline:
        for address, name in read_hosts_file(Path("/etc/hosts")):
            self._names.learn(address, name, "hosts-file")
        resolver = read_resolver(Path("/etc/resolv.conf"))
        policy = self._options.loaded.policy
        self._judge = Judge(
            policy, trusted_resolvers(policy, resolver), resolver.search
        )
        names, processes, canaries = self._names, self._processes, self._canaries
        return Pipeline(
            processes=processes,
            queries=Queries(self._judge, names, processes, canaries),
            connections=Connections(
                self._judge,
                names,
                processes,
                Locality(listeners.who, host.own_addresses, canaries),
                self._resolution.finish,
                self._sensor.who_did_it,
            ),
            canaries=canaries,
            attributor=self._sensor.attributor,
            clock=self._clock,
            sink=self._record_at,
        )

    # The command's process waits in the scope; the sensor proves itself.
    def _arm(self, scope: Scope, kept: Kept, armed: Armed) -> None:
        options = self._options
        self._canaries.begin(armed.plan)
        attributor = self._sensor.attributor
        if attributor is not None:
            path = options.user.environment.get(b"PATH", b"")
            attributor.prepare(options.command, path)
        self._sensor.drain(self._pipeline)
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
        self._tally.add(record)
        self._escalation.saw(record)
        self._also(record)
        self._evidence.write(record, ktime_ns)

    def _start_record(self, scope: Scope) -> RunStart:
        options, engine = self._options, self._sensor.engine
        command = [from_bytes(word) for word in options.command]
        attributor = self._sensor.attributor
        self._blind_spots = blind_spots.declared(
            engine,
            self._sensor.no_mappings,
            attributor.no_creators if attributor is not None else "",
            frames=options.attribution == "full",
        ) + blind_spots.of_command(self._escalation)
        return RunStart(
            egressmon=host.egressmon_version(),
            engine=f"{engine.name} {engine.version}",
            engine_reason=engine.reason,
            kernel=host.kernel(),
            machine=os.uname().machine,
            host=os.uname().nodename,
            scope=str(scope.path),
            user=options.user.uid,
            command=sanitise_argv(command),
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
    def _follow(self, kept: Kept, keeping: Keeping) -> None:
        options, ending = self._options, self._ending
        self._resolution.start()
        follower = Follower(
            kept, self._sensor, self._pipeline, self._processes, self._record
        )
        kept.say_ready()
        try:
            self._start_command(kept)
            follower.until_command_ends(keeping.child, ending)
            wanted = keeping.relay.ending
            follower.linger(wanted, options.linger_s, quiet=options.quiet)
            if self._sensor.attributor is not None:
                self._sensor.attributor.wind_up()
            self._sensor.intake.stop()
            ending.outlived = follower.outlived()
            if untold := follower.settle():
                ending.doubts.append(f"the end of {untold} processes was not seen")
            if follower.was_moved:
                ending.doubts.append(
                    "egressmon's own processes were moved into the scope"
                )
        except Exception as error:  # noqa: BLE001 -- the command must not suffer
            if options.verbose:
                traceback.print_exc()
            ending.doubts.append(f"egressmon failed: {error!r}")
            if not ending.is_known:
                reap(kept, ending)

    def _start_command(self, kept: Kept) -> None:
        try:
            self._ending.exec_errno = kept.go()
        except OSError:
            self._ending.doubts.append(
                "the command's process was ended before its exec"
            )
        self._sensor.intake.start()

    def _finished(self, kept: Kept) -> Outcome:
        try:
            return self._conclude(kept)
        except Exception as error:
            raise UnfinishedError(
                f"the evidence could not be finished: {error!r}",
                "what was recorded so far stands; please report this",
            ) from error

    def _conclude(self, kept: Kept) -> Outcome:
        self._last_canaries(kept)
        self._pipeline.finish()
        for loss in self._sensor.new_losses():
            self._record(loss)
        end = end_record(self._findings())
        self._record(end)
        self._evidence.close()
        if self._evidence.failure is not None and end.complete:
            end = end_record(self._findings())  # the disk filled at the very end
        return Outcome(
            end=end,
            tally=self._tally,
            blind_spots=[spot.name for spot in self._blind_spots],
            evidence_path=self._options.evidence_path,
            evidence_failure=self._evidence.failure,
            policy=self._options.loaded.path,
            enforce=self._options.enforce,
            exec_errno=self._ending.exec_errno,
            notes=self._escalation.notes(),
        )

    def _last_canaries(self, kept: Kept) -> None:
        try:
            plan, attempts = kept.send_canaries()
            self._canaries.begin(plan)
            self._sensor.drain(self._pipeline)
            kept.disarm()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the proof is missing
            self._ending.doubts.append(f"the last canaries could not be sent: {error}")
            return
        for record in self._sensor.prove("end", self._canaries, attempts):
            self._record(record)

    def _findings(self) -> Findings:
        return Findings(
            options=self._options,
            ending=self._ending,
            sensor=self._sensor,
            pipeline=self._pipeline,
            names=self._names,
            tally=self._tally,
            evidence_failure=self._evidence.failure,
            duration_ms=(self._clock.now_ns() - self._began_ns) // 1_000_000,
        )


def _cwd() -> str | None:
    try:
        return from_bytes(os.fsencode(Path.cwd()))
    except OSError:
        return None
