"""What there was before a run that lasts: another run, and connections."""

from collections.abc import Iterable, Iterator

from egressmon.attribution.existing_sockets import ExistingSocket
from egressmon.attribution.processes import Processes
from egressmon.clock import Clock
from egressmon.evidence.records.lasting import GapRecord, RestartRecord
from egressmon.evidence.records.traffic import ExistingRecord
from egressmon.runs.lasting.gaps import gap_before, gap_of_refusal
from egressmon.runs.lasting.restarts import restart_after
from egressmon.runs.plan import Standing
from egressmon.sensor.sensor import Sensor


def existing_records(
    found: Iterable[ExistingSocket], processes: Processes
) -> Iterator[ExistingRecord]:
    """Make the records of the connections that were there before."""
    for one in found:
        actor = processes.existing_actor(one.pid)
        yield ExistingRecord(
            protocol="tcp",
            dst=one.address,
            port=one.port,
            local=one.local_address,
            local_port=one.local_port,
            process=actor,
            process_reason=None if actor is not None else "it has ended",
        )


def run_before(
    standing: Standing, sensor: Sensor, clock: Clock
) -> GapRecord | RestartRecord | None:
    """Return how this run goes on from another one, or when nobody watched before it.

    None: there was no run before.
    """
    kept = sensor.engine.kept
    if kept is not None and standing.kept is not None:
        losses, by = sensor.losses(), standing.kept.store.by
        return restart_after(standing.before, kept, by, losses, clock)
    gap = gap_before(standing.before, clock, was_left=standing.place.was_left)
    if standing.not_kept:
        until = clock.rfc3339(clock.now_ns())
        gap = gap_of_refusal(gap, standing.not_kept, until)
    return gap
