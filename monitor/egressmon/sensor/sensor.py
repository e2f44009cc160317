"""The probes around one scope, with the proof that they see."""

import os
import socket
import stat
import time
from contextlib import suppress
from typing import Literal

from egressmon import files, host
from egressmon.attribution import Level
from egressmon.attribution.native.mappings import SideRecord
from egressmon.attribution.result import Attribution, unknown
from egressmon.attribution.stage import Attributor
from egressmon.errors import SensorError
from egressmon.events.model import Flow, Traffic
from egressmon.evidence.records import CanaryRecord, LossRecord
from egressmon.faults import Faults
from egressmon.files.beginning import Beginning
from egressmon.pipeline import Pipeline
from egressmon.probes.architecture import this_machine
from egressmon.probes.engine import Engine
from egressmon.probes.kernel.sideband import SideBand
from egressmon.probes.wire import CONSTANTS
from egressmon.sensor import blind_spots
from egressmon.sensor.canary import Attempt, CanaryWatch, Plan, failed, make_plan
from egressmon.sensor.intake import Intake
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
    "lost_unread": "DNS messages beyond a socket's share were not read",
    "lost_escape": "attempts to leave the scope are missing",
    "lost_packet": "packets could not be read; a flow may be missing",
}

# What the rings can hold, in batches of 4096 events or half a megabyte of each.
_FULL_RINGS_BATCHES = 64
_DRAIN_S = 60.0
_SLICE = 64


def _is_ip_socket(descriptor: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    with socket.socket(fileno=os.dup(descriptor)) as duplicate:
        return duplicate.family in {socket.AF_INET, socket.AF_INET6}


class Sensor:
    """An engine attached to a scope: events, losses and canaries."""

    def __init__(
        self,
        engine: Engine,
        scope: Scope,
        level: Level,
        faults: Faults,
        beginning: Beginning,
    ) -> None:
        """Take over the loaded engine, to attribute up to `level`; nothing is attached.

        What goes wrong while events are read goes to `faults`.
        `beginning` is the run's.
        """
        self._beginning = beginning
        self.engine = engine
        self.level = level
        self.no_mappings = ""
        """Why the kernel's account of mappings cannot be had; empty: it can."""
        self.attributor: Attributor | None = None
        self.intake = Intake(engine, None, faults)
        self.canaries: list[CanaryRecord] = []
        self._scope = scope
        self._faults = faults
        self._side_band: SideBand | None = None
        self._lost_mappings = 0
        self._reported: dict[str, int] = {}

    def attach(self) -> None:
        """Attach everything to the scope; close() closes what was, if this raises."""
        scope = self._scope
        self.attributor = self._prepare()
        root_fd = os.open(scope.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.engine.scope_level = scope.level
            self.engine.attach(scope.fd)
            self.engine.attach_root(root_fd)
        finally:
            os.close(root_fd)

    def _prepare(self) -> Attributor | None:
        if self.level == "process":
            return None
        if not host.proc_is_ours():
            return None  # a blind spot of its own
        self.engine.stack_bytes = CONSTANTS["STACK_BYTES"]
        frames, why_none = self.engine.frames, self.engine.no_frames
        if self.level != "full":
            frames, why_none = None, f"--attribution {self.level}"
        return Attributor(
            self.engine, frames, why_none, this_machine(), self._beginning
        )

    def open_side_band(self, scope: Scope) -> None:
        """Have the kernel tell what is mapped, in the process that will read it.

        A process that is forked does not inherit the memory (VM_DONTCOPY).
        """
        if self.attributor is None:
            return
        try:
            self._side_band = SideBand(scope.fd)
        except OSError as error:
            self.no_mappings = blind_spots.refused(error)
        self.intake = Intake(self.engine, self._side_band, self._faults)

    def who_did_it(self, flow: Traffic) -> Attribution:
        """Return who made flow."""
        if isinstance(flow, Flow) and flow.operation == "accept":
            return unknown("the peer made the connection")
        if self.attributor is not None:
            try:
                return self.attributor.of(flow)
            except Exception as error:  # noqa: BLE001 -- the connection is recorded
                self._faults.note("saying who made a connection", error)
                return unknown(f"egressmon failed ({type(error).__name__})")
        if self.level == "process":
            return unknown("--attribution process")
        return unknown("egressmon runs in a pid namespace")

    def read(self) -> list[bytes]:
        """Return a bounded batch of events, oldest first; [] when there are none.

        What was mapped before any of them is known to the attributor by then.
        """
        files.begin_batch()
        batch = self.intake.take()
        if self.attributor is not None:
            lost = batch.lost_mappings
            self._learn(self.attributor, batch.mapped, lost > self._lost_mappings)
            self._lost_mappings = lost
        return batch.events

    # What it learned in part is not to be relied on: then it is as if it were lost.
    def _learn(
        self,
        attributor: Attributor,
        mapped: list[SideRecord],
        lost: bool,  # noqa: FBT001 -- of two
    ) -> None:
        try:
            attributor.learn(mapped, lost=lost)
        except Exception as error:  # noqa: BLE001 -- the events of the batch must be read
            step = "learning what was mapped"
            self._faults.note(step, error)
            with self._faults.isolated(step):
                attributor.learn([], lost=True)

    def close(self) -> None:
        """Close what was opened beside the engine."""
        opened = (self.attributor, self._side_band)
        closings = [one.close for one in opened if one is not None]
        for close in (self.intake.stop, *closings):
            with self._faults.isolated("closing"):  # what was found out stands
                close()

    def arm(self) -> Plan:
        """Have the probes refuse a new plan's addresses."""
        plan = make_plan()
        self.engine.arm_canary(plan.for_probes())
        return plan

    def adopt_inherited(self) -> None:
        """Have what the command inherits of sockets watched as well."""
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- numbers
            with suppress(OSError):  # no IP socket, or the listing's own
                if os.get_inheritable(int(name)) and _is_ip_socket(int(name)):
                    self.engine.adopt(int(name))

    def drain(self, pipeline: Pipeline) -> None:
        """Take everything that the rings hold now through the pipeline.

        Bounded by what it can hold, and in time: a process that makes events faster
        than they are read, or such as take long, must not keep the run from its end.
        """
        deadline = time.monotonic() + _DRAIN_S
        for _ in range(_FULL_RINGS_BATCHES):
            batch = self.read()
            if not batch:
                return
            for begin in range(0, len(batch), _SLICE):
                if time.monotonic() >= deadline:
                    pipeline.tracker.unread += len(batch) - begin
                    return
                pipeline.feed(batch[begin : begin + _SLICE])

    def prove(
        self,
        when: Literal["start", "end"],
        watch: CanaryWatch,
        attempts: list[Attempt],
    ) -> list[CanaryRecord]:
        """Return what became of attempts; raises SensorError when none was seen."""
        records = watch.records(when, attempts)
        self.canaries += records
        if when == "start" and not any(record.seen for record in records):
            raise SensorError(
                "the probes are attached but saw none of egressmon's own connections",
                "nothing was monitored, so nothing was started; run `egressmon doctor`",
            )
        return records

    def new_losses(self) -> list[LossRecord]:
        """Return what was lost since the last call."""
        records: list[LossRecord] = []
        for name, count in self.losses().items():
            fresh = count - self._reported.get(name, 0)
            if fresh:
                self._reported[name] = count
                records.append(LossRecord(name, fresh, CONSEQUENCES[name]))
        return records

    def losses(self) -> dict[str, int]:
        """Return the probes' loss counters."""
        try:
            counters = self.engine.counters()
        except Exception as error:  # noqa: BLE001 -- the end must be recorded
            self._faults.note("counting losses", error)
            counters = {**dict.fromkeys(CONSEQUENCES, 0), **self._reported}
        counters["missed_mapping"] = self._lost_mappings
        return {name: counters[name] for name in CONSEQUENCES}

    def failed_canaries(self) -> list[CanaryRecord]:
        """Return the canaries that cast doubt on the sensor."""
        return failed(self.canaries)
