"""Run a command under loaded probes, and write the evidence of it."""

import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

from egressmon.attribution.stage import Attributor, attributor_for
from egressmon.evidence.records import Record
from egressmon.faults import Faults
from egressmon.keeping.segments import KeeperFolder
from egressmon.keeping.signals import block_forwarded
from egressmon.keeping.split import split
from egressmon.probes.engine import Engine
from egressmon.reports.runs.outcome import Outcome
from egressmon.runs.arming import arm
from egressmon.runs.plan import Standing
from egressmon.runs.session import Live, Session
from egressmon.runs.state import RunState
from egressmon.sensor.found_scope import FoundScope, find_scope
from egressmon.sensor.scope import make_scope
from egressmon.sensor.sensor import Sensor
from egressmon.verdicts.listeners import Listeners


def run_identifier() -> str:
    """Return a name for a new run: the current UTC time and eight random digits."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{now}-{secrets.token_hex(4)}"


def execute(
    state: RunState, engine: Engine, on_record: Callable[[Record], None]
) -> Outcome:
    """Run the command of `state` under the loaded `engine`, and return how it went.

    `on_record` is called with each record, in order. The function returns in another
    process than it was called in: the agent, which has no rights. Raises an
    `EgressmonError` if nothing can be monitored; the command is then not started.
    """
    # From here to the end nothing is left behind if a signal asks for an end.
    block_forwarded()
    standing = state.options.standing
    scope = make_scope() if standing is None else _standing_scope(standing)
    attributor = attributor_for(state.options.attribution, engine, state.beginning)
    sensor = Sensor(engine, scope, state.faults, callers=attributor is not None)
    try:
        armed = arm(sensor, attributor, scope, state.options)
    except BaseException:
        _close(sensor, attributor, state.faults)
        if standing is not None and standing.kept is not None:
            standing.kept.abandon()
        engine.close()
        scope.remove()
        raise
    state.ending.doubts += armed.doubts
    keeper = split(armed.keeper_setup, sensor.open_side_band)
    if standing is not None:
        standing.segments.hand_over(KeeperFolder(keeper))
    is_machine = isinstance(scope, FoundScope) and scope.is_machine
    with closing(Listeners(None if is_machine else scope.watched)) as listeners:
        try:
            live = Live(scope, sensor, attributor, armed, keeper)
            session = Session if standing is None else _standing_session()
            return session(state, live, listeners, on_record).execute()
        finally:
            _close(sensor, attributor, state.faults)


def _standing_scope(standing: Standing) -> FoundScope:
    if standing.lineage is not None:
        from egressmon.sensor.lineage_scope import (  # noqa: PLC0415 -- only for such
            make_lineage_scope,
        )

        return make_lineage_scope(standing.lineage)
    return find_scope(standing.watched)


# It needs more, which the runs of commands do without.
def _standing_session() -> "type[Session]":
    from egressmon.runs.lasting.standing import (  # noqa: PLC0415 -- as above
        StandingSession,
    )

    return StandingSession


def _close(sensor: Sensor, attributor: Attributor | None, faults: Faults) -> None:
    closings = [sensor.close]
    if attributor is not None:
        closings.append(attributor.close)
    for close in closings:
        with faults.isolated("closing"):  # a failure here changes no finding
            close()
