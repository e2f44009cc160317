"""One watched run, from an armed sensor to a finished file of evidence."""

import os
import secrets
import select
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

from egressmon import host, signals
from egressmon.canary import CanaryWatch
from egressmon.clock import Clock
from egressmon.evidence import Evidence
from egressmon.launch import Launched, flush_output, launch, send_from_scope, status_of
from egressmon.listeners import Listeners
from egressmon.names import Names, Resolver, read_hosts_file, read_resolver
from egressmon.pipeline import Pipeline
from egressmon.policy.file import LoadedPolicy
from egressmon.policy.judge import Judge
from egressmon.policy.model import Policy
from egressmon.privilege import User, drop_capabilities
from egressmon.processes import Processes
from egressmon.records import Outlived, Record, RunEnd, RunStart, RunVerdict
from egressmon.resolution import PolicyResolution
from egressmon.sanitise import sanitise_argv
from egressmon.scope import Scope, make_scope
from egressmon.sensor import Sensor
from egressmon.tally import Tally
from egressmon.text import from_bytes

VIOLATIONS = 120
INCOMPLETE = 121
_POLL_MS = 100
_LOSS_EVERY_S = 1.0
_PATIENCE_S = 2.0  # before saying what is being waited for
_ONE_SHOT = 4096


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run is to do."""

    command: list[bytes]
    loaded: LoadedPolicy
    enforce: Literal["report", "fail"]
    evidence_path: str
    evidence_file: IO[bytes] | None
    evidence_error: str | None
    user: User
    linger_s: float | None = None
    """How long to wait for descendants after the command; None: to the last."""
    allow_incomplete: bool = False
    quiet: bool = False
    verbose: bool = False
    ready_file: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    end: RunEnd
    tally: Tally
    blind_spots: list[str]
    evidence_path: str
    evidence_failure: str | None
    policy: Path | None
    enforce: str
    exec_errno: int


@dataclass(slots=True)
class _Ended:
    status: int | None = None
    signal: int | None = None
    exec_errno: int = 0
    reasons: list[str] = field(default_factory=list[str])
    outlived: list[Outlived] = field(default_factory=list[Outlived])

    @property
    def code(self) -> int:
        if self.exec_errno:
            return status_of(self.exec_errno)
        if self.signal is not None:
            return 128 + self.signal
        return self.status or 0


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
        self._policy: Policy = options.loaded.policy
        self._clock = Clock()
        self._began_ns = self._clock.now_ns()
        self._evidence = Evidence(
            options.evidence_file, identifier, self._clock, options.evidence_error
        )
        self._also = also
        self._tally = Tally()
        self._ended = _Ended()

    def execute(self) -> Outcome:
        """Run the command and return how it went.

        Raises an error with a hint where nothing could be monitored; then the
        command was not started.
        """
        mask = signals.block()
        flush_output()
        scope = make_scope()
        try:
            self._sensor = Sensor(scope)
            try:
                return self._watched(scope, mask)
            finally:
                self._sensor.engine.close()
        finally:
            scope.remove()

    def _watched(self, scope: Scope, mask: set[signals.signal.Signals]) -> Outcome:
        self._prepare(scope)
        plan = self._sensor.arm()
        self._canaries.begin(plan)
        options = self._options
        child = launch(scope, plan, options.user, options.command, mask)
        try:
            self._sensor.drain(self._pipeline)
            proof = self._sensor.prove("start", self._canaries, child.attempts)
            self._sensor.disarm()
            drop_capabilities()
            self._record(self._start_record(scope))
            for record in proof:
                self._record(record)
        except BaseException:
            child.abandon()
            raise
        self._follow(scope, child)
        return self._conclude(scope)

    def _prepare(self, scope: Scope) -> None:
        names = Names()
        for address, name in read_hosts_file(Path("/etc/hosts")):
            names.learn(address, name, "hosts-file")
        resolver = read_resolver(Path("/etc/resolv.conf"))
        self._resolvers = trusted_resolvers(self._policy, resolver)
        self._resolution = PolicyResolution(self._policy, names)
        self._processes = Processes(proc_is_ours=host.proc_is_ours())
        self._canaries = CanaryWatch()
        self._listeners = Listeners(scope.path)
        self._names = names
        self._pipeline = Pipeline(
            judge=Judge(self._policy, self._resolvers, resolver.search),
            names=names,
            processes=self._processes,
            who_listens=self._listeners.who,
            own_addresses=host.own_addresses(),
            canaries=self._canaries,
            clock=self._clock,
            sink=self._record_at,
            before_unnamed=self._resolution.finish,
        )

    def _record(self, record: Record) -> None:
        self._record_at(record, self._clock.now_ns())

    def _record_at(self, record: Record, ktime_ns: int) -> None:
        self._tally.add(record)
        self._also(record)
        self._evidence.write(record, ktime_ns)

    def _start_record(self, scope: Scope) -> RunStart:
        options = self._options
        command = [from_bytes(word) for word in options.command]
        self._blind_spots = host.blind_spots(root_hooks=self._sensor.engine.root_hooks)
        return RunStart(
            egressmon=host.egressmon_version(),
            engine=self._sensor.engine.version,
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
            resolvers=sorted(map(str, self._resolvers)),
            hooks=self._sensor.engine.hooks,
            blind_spots=self._blind_spots,
            armed_ms=host.process_age_ms(),
        )

    # From the command's first instruction to its last descendant's end. Whatever
    # goes wrong on our side, the command runs on, and the evidence says so.
    def _follow(self, scope: Scope, child: Launched) -> None:
        relay = signals.SignalRelay(child.pid)
        relay.start()
        self._resolution.start()
        self._ready()
        self._ended.exec_errno = child.go()
        try:
            self._until_command_ends(child.pid)
            relay.forget()
            self._linger(scope, relay)
        except Exception as error:  # noqa: BLE001 -- the command must not suffer
            if self._options.verbose:
                traceback.print_exc()
            self._ended.reasons.append(f"egressmon failed: {error!r}")
            if self._ended.status is None and self._ended.signal is None:
                self._reap(child.pid)

    def _ready(self) -> None:
        if self._options.ready_file is not None:
            Path(self._options.ready_file).touch()

    def _until_command_ends(self, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(self._sensor.engine.fileno(), select.POLLIN)
        timeout = _POLL_MS
        try:
            while not any(fd == pidfd for fd, _ in poller.poll(timeout)):
                timeout = self._turn()
        finally:
            os.close(pidfd)
        self._reap(pid)

    # One turn of reading; returns how long to wait before the next, in ms.
    def _turn(self) -> int:
        batch = self._sensor.engine.read()
        self._pipeline.feed(batch)
        now = time.monotonic()
        if now >= self._next_loss_check:
            self._next_loss_check = now + _LOSS_EVERY_S
            for loss in self._sensor.new_losses():
                self._record(loss)
        return 0 if len(batch) >= _ONE_SHOT else _POLL_MS

    _next_loss_check = 0.0

    def _reap(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            self._ended.signal = os.WTERMSIG(status)
        else:
            self._ended.status = os.WEXITSTATUS(status)

    def _linger(self, scope: Scope, relay: signals.SignalRelay) -> None:
        linger = self._options.linger_s
        began = time.monotonic()
        told = self._options.quiet
        while self._remaining(scope) and not relay.ending.is_set():
            waited = time.monotonic() - began
            if linger is not None and waited >= linger:
                break
            if not told and waited >= _PATIENCE_S:
                told = True
                self._tell_waiting(scope)
            time.sleep(_POLL_MS / 1000)
            self._turn()
        self._sensor.drain(self._pipeline)
        self._ended.outlived = [
            Outlived(pid, self._comm(pid)) for pid in self._remaining(scope)
        ]

    def _remaining(self, scope: Scope) -> list[int]:
        inside = scope.pids() if scope.is_populated() else []
        if not host.proc_is_ours():
            return inside
        escaped = [
            process.pid for process in self._processes.alive() if _runs(process.pid)
        ]
        return sorted({*inside, *escaped})

    def _comm(self, pid: int) -> str:
        process = self._processes.get(pid)
        return process.comm if process else "unknown"

    def _tell_waiting(self, scope: Scope) -> None:
        names = ", ".join(sorted({self._comm(pid) for pid in self._remaining(scope)}))
        sys.stderr.write(
            "egressmon: the command ended; waiting for what it left running "
            f"({names}); --linger 0s would not wait\n"
        )

    def _conclude(self, scope: Scope) -> Outcome:
        self._last_canaries(scope)
        self._pipeline.finish()
        for loss in self._sensor.new_losses():
            self._record(loss)
        self._listeners.close()
        end = self._end_record()
        self._record(end)
        self._evidence.close()
        return Outcome(
            end=end,
            tally=self._tally,
            blind_spots=[spot.name for spot in self._blind_spots],
            evidence_path=self._options.evidence_path,
            evidence_failure=self._evidence.failure,
            policy=self._options.loaded.path,
            enforce=self._options.enforce,
            exec_errno=self._ended.exec_errno,
        )

    def _last_canaries(self, scope: Scope) -> None:
        try:
            plan = self._sensor.arm()
            self._canaries.begin(plan)
            attempts = send_from_scope(scope, plan)
            self._sensor.drain(self._pipeline)
            self._sensor.disarm()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the proof is missing
            self._ended.reasons.append(f"the last canaries could not be sent: {error}")
            return
        for record in self._sensor.prove("end", self._canaries, attempts):
            self._record(record)

    def _end_record(self) -> RunEnd:
        tracker = self._pipeline.tracker
        losses = {
            **self._sensor.losses(),
            "short_events": tracker.short_events,
            "dns_malformed": self._pipeline.dns.malformed,
            "dns_broken": self._pipeline.dns.broken,
            "names_dropped": self._names.dropped,
        }
        reasons = [*self._ended.reasons, *self._doubts(losses)]
        counters = self._sensor.engine.counters()
        canaries = self._sensor.canaries
        return RunEnd(
            verdict=self._verdict(reasons),
            complete=not reasons,
            incomplete_reasons=reasons,
            connections=dict(self._tally.connections),
            queries=dict(self._tally.queries),
            processes=self._tally.processes,
            losses=losses,
            unattributed_flows=tracker.unattributed_flows,
            unnamed_addresses=len(tracker.unnamed),
            canaries={
                "sent": sum(record.sent for record in canaries),
                "seen": sum(record.seen for record in canaries),
            },
            sent_packets=counters["packets"],
            sent_bytes=counters["bytes"],
            command_status=self._ended.status if not self._ended.exec_errno else None,
            command_signal=self._ended.signal,
            exit_status=self._exit_status(reasons),
            outlived=self._ended.outlived,
            duration_ms=(self._clock.now_ns() - self._began_ns) // 1_000_000,
        )

    # Why "clean" may not be said.
    def _doubts(self, losses: dict[str, int]) -> list[str]:
        doubts = [
            f"{count} events lost ({name})"
            for name, count in losses.items()
            if count and (name.startswith("lost_") or name == "short_events")
        ]
        doubts += [
            f"canary {record.hook} at the {record.when}: {record.reason}"
            for record in self._sensor.failed_canaries()
        ]
        tracker = self._pipeline.tracker
        if not self._ended.exec_errno:
            if tracker.first_executed is None:
                doubts.append("the command's exec was not seen")
            elif tracker.first_executed not in tracker.ended:
                doubts.append("the command's exit was not seen")
        if self._evidence.failure is not None:
            doubts.append(f"the evidence could not be written: {self._evidence.failure}")
        return doubts

    def _verdict(self, reasons: list[str]) -> RunVerdict:
        if self._tally.has_violations:
            return "violations"
        return "incomplete" if reasons else "clean"

    def _exit_status(self, reasons: list[str]) -> int:
        if self._tally.has_violations and self._options.enforce == "fail":
            return VIOLATIONS
        if reasons and not self._options.allow_incomplete:
            return INCOMPLETE
        return self._ended.code


def trusted_resolvers(policy: Policy, resolver: Resolver) -> frozenset[host.Address]:
    """Return the resolvers that policy trusts, given the system's configuration."""
    if policy.dns.resolvers == "system":
        return frozenset(resolver.servers)
    return frozenset(map(host.ipaddress.ip_address, policy.dns.resolvers))


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] not in (["Z"], ["X"])


def _cwd() -> str | None:
    try:
        return from_bytes(os.getcwdb())
    except OSError:
        return None
