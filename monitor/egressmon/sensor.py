"""The probes around one scope, with the proof that they see."""

import os
from typing import Literal

from egressmon.canary import Attempt, CanaryWatch, Plan, failed, make_plan
from egressmon.errors import SensorError
from egressmon.pipeline import Pipeline
from egressmon.probes.engine import Engine
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
    "lost_packet": "packets could not be read; a flow may be missing",
}

# 4 MiB of the smallest events, 64 bytes in the ring, in batches of 4096.
_FULL_RING_BATCHES = 16


class Sensor:
    """An engine attached to a scope: events, losses and canaries."""

    def __init__(self, engine: Engine, scope: Scope) -> None:
        """Attach the loaded engine to scope."""
        self.engine = engine
        root_fd = os.open(scope.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.engine.attach(scope.fd)
            self.engine.attach_root(root_fd)
        finally:
            os.close(root_fd)
        self._reported: dict[str, int] = {}
        self.canaries: list[CanaryRecord] = []

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
            batch = self.engine.read()
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
        return {name: counters[name] for name in CONSEQUENCES}

    def failed_canaries(self) -> list[CanaryRecord]:
        """Return the canaries that cast doubt on the sensor."""
        return failed(self.canaries)
