"""All of a run that takes rights, before the process parts in two."""

from dataclasses import dataclass

from egressmon import signals
from egressmon.canary import Plan
from egressmon.escalation import Escalation, runs_as_root
from egressmon.keeper import Keeping
from egressmon.launch import flush_output, launch
from egressmon.outcome import RunOptions
from egressmon.probes.engine import Engine
from egressmon.scope import Scope
from egressmon.sensor import Sensor


@dataclass(frozen=True, slots=True)
class Armed:
    """Probes that are attached, and a command that waits."""

    sensor: Sensor
    keeping: Keeping
    plan: Plan
    """Where the canaries went that the command's process sent."""
    escalation: Escalation


def arm(engine: Engine, scope: Scope, options: RunOptions) -> Armed:
    """Attach the probes to the scope, and have the command's process wait in it.

    Raises an error with a hint where that cannot be.
    """
    mask = signals.block()
    flush_output()
    sensor = Sensor(engine, scope, options.attribution)
    if sensor.attributor is not None:
        sensor.attributor.begin()
    plan = sensor.arm()
    escalation = Escalation(
        as_root=runs_as_root(options.user),
        can_sudo=options.sudo.reason() if options.sudo is not None else None,
        withheld_by=None if options.may_gain else options.enforce,
    )
    child = launch(
        scope, plan, options.user, options.command, mask, may_gain=options.may_gain
    )

    # In the keeper: what would stay open for whoever reads at its other end.
    def let_go() -> None:
        if sensor.attributor is not None:
            sensor.attributor.wind_up()
        if options.evidence_file is not None:
            options.evidence_file.close()

    keeping = Keeping(
        engine=engine,
        scope=scope,
        child=child,
        relay=signals.SignalRelay(child.pidfd),
        user=options.user,
        ready_file=options.ready_file,
        page=options.page,
        allow_incomplete=options.allow_incomplete,
        let_go=let_go,
        at_end=options.at_end,
    )
    return Armed(sensor, keeping, plan, escalation)
