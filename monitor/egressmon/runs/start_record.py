"""The first record of a run: what was asked, on which machine, and its blind spots."""

import os
from pathlib import Path

from egressmon import host
from egressmon.attribution.stage import Attributor
from egressmon.evidence.records.running import BlindSpot, RunStart
from egressmon.probes.architecture import machine
from egressmon.runs.arming import Armed
from egressmon.runs.plan import Standing
from egressmon.runs.state import RunState
from egressmon.sanitise import sanitise_argv
from egressmon.sensor import blind_spots
from egressmon.sensor.scope import Scope
from egressmon.sensor.sensor import Sensor
from egressmon.text import from_bytes


def blind_spots_of(
    scope: Scope,
    sensor: Sensor,
    attributor: Attributor | None,
    armed: Armed,
    *,
    frames: bool,
) -> list[BlindSpot]:
    """Return the blind spots of this run; `frames`: Python frames are to be read.

    Call it after `attributor.settle()`: only then it is known whether the creators of
    tasks can be noted.
    """
    return blind_spots.declared(
        sensor.engine,
        sensor.no_mappings,
        attributor.no_creators if attributor is not None else "",
        surroundings=armed.surroundings,
        scope=scope,
        frames=frames,
        is_part=armed.is_part,
    ) + blind_spots.of_command(armed.escalation)


def start_record(
    state: RunState, sensor: Sensor, scope: Scope, blind_spots_found: list[BlindSpot]
) -> RunStart:
    """Return the first record of a run whose probes are armed."""
    options, engine = state.options, sensor.engine
    command = [from_bytes(word) for word in options.command]
    if options.standing is not None:
        command = options.standing.words
    return RunStart(
        egressmon=host.egressmon_version(),
        engine=f"{engine.name} {engine.version}",
        engine_reason=engine.reason,
        kernel=host.kernel(),
        machine=machine(),
        host=os.uname().nodename,
        scope=_described(scope, options.standing),
        user=options.user.uid,
        command=sanitise_argv(command, options.argv),
        argv=options.argv,
        cwd=_cwd(),
        policy=str(options.loaded.path) if options.loaded.path else None,
        policy_digest=options.loaded.digest,
        enforce=options.enforce,
        resolvers=sorted(map(str, state.judge.resolvers)),
        hooks=engine.hooks,
        blind_spots=blind_spots_found,
        attribution=options.attribution,
        armed_ms=host.age_ms(state.process_began_s),
        search=list(state.judge.search.domains),
        ndots=state.judge.search.ndots,
        policy_kind=options.loaded.kind,
        heartbeat_ms=round(options.standing.heartbeat_s * 1000)
        if options.standing is not None
        else None,
        job=_job(options.standing),
    )


def _described(scope: Scope, standing: Standing | None) -> str:
    if standing is None or not standing.wanted:
        return scope.described
    return f"containers: {', '.join(map(str, standing.wanted))}"


def _job(standing: Standing | None) -> str | None:
    if standing is None or standing.job is None:
        return None
    return str(standing.job)


def _cwd() -> str | None:
    try:
        return from_bytes(os.fsencode(Path.cwd()))
    except OSError:
        return None
