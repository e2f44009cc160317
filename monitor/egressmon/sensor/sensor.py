"""The probes attached to one scope: batches of events, losses, canaries."""

import os
from contextlib import suppress

from egressmon.errors import ScopeError, SensorError
from egressmon.evidence.records.running import CanaryRecord, LossRecord
from egressmon.faults import Faults
from egressmon.probes.engine import Engine
from egressmon.probes.kernel.sideband import SideBand
from egressmon.probes.wire import CONSTANTS
from egressmon.sensor import blind_spots
from egressmon.sensor.canary import (
    Attempt,
    CanaryTime,
    CanaryWatch,
    Plan,
    failed,
    make_plan,
)
from egressmon.sensor.found_scope import FoundScope
from egressmon.sensor.intake import Batch, Intake
from egressmon.sensor.scope import Scope

CONSEQUENCES = {
    "lost_process": "process records are missing; a process may be unnamed",
    "lost_flow": "connections are missing",
    "lost_dns": "DNS messages are missing; a connection may be unnamed",
    "lost_lineage": "processes are missing from the scope's lineage",
    "lost_socket": "sockets are unknown; their packets have no owner",
    "lost_skipped": "the kernel skipped probes; processes may be missing",
    "missed_stack": "the modules behind connections are unknown",
    "missed_frames": "the Python code behind connections is unknown",
    "missed_code": "functions behind connections are unnamed",
    "missed_mapping": "the modules behind connections may be unknown",
    "missed_cgroup": "containers behind connections are unknown",
    "lost_unread": "DNS messages beyond a socket's share were not read",
    "lost_escape": "attempts to leave the scope are missing",
    "lost_packet": "packets could not be read; a flow may be missing",
}
"""What follows from each kind of loss that the probes count."""


_MAX_FAILED = 100


class Sensor:
    """An engine attached to a scope: batches of events, losses and canaries."""

    def __init__(
        self, engine: Engine, scope: Scope, faults: Faults, *, callers: bool
    ) -> None:
        """Take over the loaded `engine`; attach nothing yet.

        Failures while events are read are noted in `faults`. With `callers`, the probes
        copy the stack of each caller, and the kernel is asked to report mappings: the
        attribution needs both.
        """
        self.engine = engine
        self.no_mappings = ""
        """Why the kernel does not report mappings; empty if it does."""
        self.intake = Intake(engine, None, faults)
        self.canaries_sent = self.canaries_seen = 0
        self.failed_canaries: list[CanaryRecord] = []
        """The canaries that show that the probes may not see everything."""
        self._scope = scope
        self._faults = faults
        self._callers = callers
        self._side_band: SideBand | None = None
        self._lost_mappings = 0
        self._reported: dict[str, int] = {}
        self._taken: tuple[int, ...] = ()

    def attach(self) -> None:
        """Attach all probes to the scope.

        If this raises, what is attached by then is detached when the engine is closed.
        """
        scope = self._scope
        if self._callers:
            self.engine.stack_bytes = CONSTANTS["STACK_BYTES"]
        root_fd = os.open(scope.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if isinstance(scope, FoundScope):
                self._attach_found(scope, root_fd)
                return
            self.engine.scope_id = os.fstat(scope.fd).st_ino
            self.engine.hierarchy_is_whole = scope.level > 0
            self.engine.scope_level = scope.level or self._ask_for_level()
            self.engine.attach_root(root_fd)
            self.engine.attach(scope.fd)
        finally:
            os.close(root_fd)

    # No part of the machine may be unseen here: there is no command that could be kept
    # from what is.
    def _attach_found(self, scope: FoundScope, root_fd: int) -> None:
        engine = self.engine
        engine.scope_id = os.fstat(scope.watched_fd).st_ino
        engine.scope_level = scope.watched_level
        engine.own_id, engine.own_level = os.fstat(scope.fd).st_ino, scope.level
        engine.hierarchy_is_whole = True
        engine.attach_root(root_fd, is_scope=scope.is_machine)
        if not engine.root_hooks:
            raise ScopeError(
                "no probe may be attached to the root of the cgroup hierarchy",
                "run egressmon as root, and in the machine's own cgroup namespace",
            )
        engine.attach_found(scope.watched_fd, scope.fd)

    def _ask_for_level(self) -> int:
        level = 0
        with suppress(OSError):
            level = self.engine.find_level(self._scope.fd, self._scope.make_socket)
        if not level:
            raise ScopeError(
                "the kernel does not say where the scope's cgroup is in its hierarchy",
                "run where the whole hierarchy is visible (docker: --cgroupns=host)",
            )
        return level

    def open_side_band(self) -> None:
        """Ask the kernel to report mappings; call it in the process that reads them.

        A forked process does not inherit the shared memory of these reports
        (VM_DONTCOPY).
        """
        if not self._callers:
            return
        try:
            watched, mapped = self._scope.watched_fd, self._scope.mapped_fd
            self._side_band = SideBand(watched if mapped is None else mapped)
        except OSError as error:
            self.no_mappings = blind_spots.perf_refusal(error)
        before = self.intake
        self.intake = Intake(self.engine, self._side_band, self._faults)
        self.intake.begin_with(before)

    def read(self) -> Batch:
        """Return the next batch; it has no events if there are none now."""
        batch = self.intake.next_batch()
        self._lost_mappings = batch.lost_mappings
        self._taken = batch.taken
        return batch

    def mark_recorded(self) -> None:
        """Note that what was read is recorded: nobody after us need read it again."""
        if self._taken:
            self.engine.mark(self._taken)

    def close(self) -> None:
        """Stop reading ahead, and close the side band. The engine is left open."""
        closings = [self._side_band.close] if self._side_band is not None else []
        for close in (self.intake.stop, *closings):
            with self._faults.isolated("closing"):  # a failure here changes no finding
                close()

    def arm(self) -> Plan:
        """Have the probes refuse the addresses of a new plan, and return the plan."""
        plan = make_plan()
        self.engine.arm_canary(plan.for_probes())
        return plan

    def prove(
        self,
        when: CanaryTime,
        watch: CanaryWatch,
        attempts: list[Attempt],
    ) -> list[CanaryRecord]:
        """Return a record of each of `attempts`, which the command's process made.

        Raises `SensorError` if at the start the probes reported none of them.
        """
        records = watch.records(when, attempts)
        self.canaries_sent += sum(record.sent for record in records)
        self.canaries_seen += sum(record.seen for record in records)
        if len(self.failed_canaries) < _MAX_FAILED:
            self.failed_canaries += failed(records)
        if when == "start" and not any(record.seen for record in records):
            raise SensorError(
                "the probes are attached but saw none of egressmon's own connections",
                "nothing was monitored, so nothing was started; run `egressmon doctor`",
            )
        return records

    def new_losses(self) -> list[LossRecord]:
        """Return a record of each kind of loss since the last call."""
        records: list[LossRecord] = []
        for name, count in self.losses().items():
            fresh = count - self._reported.get(name, 0)
            if fresh:
                self._reported[name] = count
                records.append(LossRecord(name, fresh, CONSEQUENCES[name]))
        return records

    def losses(self) -> dict[str, int]:
        """Return how many events of each kind were lost since the run began."""
        try:
            counters = self.engine.counters()
        except Exception as error:  # noqa: BLE001 -- the end must be recorded
            self._faults.note("counting losses", error)
            counters = {**dict.fromkeys(CONSEQUENCES, 0), **self._reported}
        counters["missed_mapping"] = self._lost_mappings
        return {name: counters[name] for name in CONSEQUENCES}
