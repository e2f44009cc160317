"""The probes around one scope, with the proof that they see."""

import os
from typing import Literal

from egressmon import blind_spots, host
from egressmon.attribution import Level
from egressmon.attribution.result import Attribution, unknown
from egressmon.attribution.stage import Attributor
from egressmon.beginning import Beginning
from egressmon.canary import Attempt, CanaryWatch, Plan, failed, make_plan
from egressmon.errors import SensorError
from egressmon.events import Flow
from egressmon.intake import Intake
from egressmon.pipeline import Pipeline
from egressmon.probes.engine import Engine
from egressmon.probes.sideband import SideBand
from egressmon.probes.wire import CONSTANTS
from egressmon.records import CanaryRecord, LossRecord
from egressmon.scope import Scope

CONSEQUENCES = {
    "lost_process": "process records are missing; a process may be unnamed",
    "lost_flow": "connections are missing",
    "lost_dns": "DNS messages are missing; a connection may be unnamed",
    "lost_lineage": "processes are missing from the scope's lineage",
    "lost_socket": "sockets are unknown; their packets have no owner",
    "lost_listener": "listeners of the scope are unknown; loopback may be misjudged",
    "lost_skipped": "the kernel skipped probes; processes may be missing",
    "missed_stack": "the modules behind connections are unknown",
    "missed_frames": "the Python code behind connections is unknown",
    "missed_code": "functions behind connections are unnamed",
    "missed_mapping": "the modules behind connections may be unknown",
    "lost_packet": "packets could not be read; a flow may be missing",
}

# 4 MiB of the smallest events, 64 bytes in the ring, in batches of 4096.
_FULL_RING_BATCHES = 16


class Sensor:
    """An engine attached to a scope: events, losses and canaries."""

    def __init__(
        self,
        engine: Engine,
        scope: Scope,
        level: Level,
        beginning: Beginning,
        home: str | None = None,
    ) -> None:
        """Attach the loaded engine to scope, to attribute up to level.

        Beginning is the run's, home the folder of the command's user.
        """
        self._beginning, self._home = beginning, home
        self.engine = engine
        self.level = level
        self.no_mappings = ""
        """Why the kernel's account of mappings cannot be had; empty: it can."""
        self.attributor = self._prepare(scope)
        self.intake = Intake(engine, self._side_band)
        root_fd = os.open(scope.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.engine.attach(scope.fd)
            self.engine.attach_root(root_fd)
        finally:
            os.close(root_fd)
        self._reported: dict[str, int] = {}
        self.canaries: list[CanaryRecord] = []

    def _prepare(self, scope: Scope) -> Attributor | None:
        self._side_band = None
        self._lost_mappings = 0
        if self.level == "process":
            return None
        if not host.proc_is_ours():
            return None  # a blind spot of its own
        self.engine.stack_bytes = CONSTANTS["STACK_BYTES"]
        try:
            self._side_band = SideBand(scope.fd)
        except OSError as error:
            self.no_mappings = blind_spots.refused(error)
        if self.level != "full":
            frames, why_none = None, f"--attribution {self.level}"
        else:
            frames, why_none = self.engine.frames, self.engine.no_frames
        return Attributor(self.engine, frames, why_none, self._beginning, self._home)

    def who_did_it(self, flow: Flow) -> Attribution:
        """Return who made flow."""
        if self.attributor is not None:
            return self.attributor.of(flow)
        if self.level == "process":
            return unknown("--attribution process")
        return unknown("egressmon runs in a pid namespace")

    def read(self) -> list[bytes]:
        """Return a bounded batch of events, oldest first; [] when there are none.

        What was mapped before any of them is known to the attributor by then.
        """
        batch = self.intake.take()
        if self.attributor is not None:
            lost = batch.lost_mappings
            self.attributor.learn(batch.mapped, lost=lost > self._lost_mappings)
            self._lost_mappings = lost
        return batch.events

    def close(self) -> None:
        """Close what was opened beside the engine."""
        self.intake.stop()
        if self.attributor is not None:
            self.attributor.close()
        if self._side_band is not None:
            self._side_band.close()

    def arm(self) -> Plan:
        """Have the probes refuse a new plan's addresses."""
        plan = make_plan()
        self.engine.arm_canary(plan.for_probes())
        return plan

    def disarm(self) -> None:
        """Have the probes refuse nothing."""
        self.engine.arm_canary(None)

    def drain(self, pipeline: Pipeline) -> None:
        """Take everything that the ring holds now through the pipeline.

        Bounded by what it can hold: a process that makes events faster than they
        are read must not keep the run from its end.
        """
        for _ in range(_FULL_RING_BATCHES):
            batch = self.read()
            if not batch:
                return
            pipeline.feed(batch)

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
        counters = self.engine.counters()
        counters["missed_mapping"] = self._lost_mappings
        return {name: counters[name] for name in CONSEQUENCES}

    def failed_canaries(self) -> list[CanaryRecord]:
        """Return the canaries that cast doubt on the sensor."""
        return failed(self.canaries)
