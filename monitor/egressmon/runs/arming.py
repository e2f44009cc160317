"""All of a run that takes rights, before the process parts in two."""

from dataclasses import dataclass

from egressmon.attribution.stage import Attributor
from egressmon.keeping import signals
from egressmon.keeping.keeper import Keeping
from egressmon.keeping.launch import flush_output, launch
from egressmon.runs.plan import RunOptions
from egressmon.sensor.canary import Plan
from egressmon.sensor.escalation import Escalation, runs_as_root
from egressmon.sensor.scope import Scope
from egressmon.sensor.sensor import Sensor
from egressmon.sensor.surroundings import NetworkWatch, Surroundings, look_around


@dataclass(frozen=True, slots=True)
class Armed:
    """Probes that are attached, and a command that waits."""

    keeping: Keeping
    plan: Plan
    """Where the canaries went that the command's process sent."""
    escalation: Escalation
    around: Surroundings
    network: NetworkWatch | None
    """Of a command that may change the network; None of others, or it may not be."""
    no_network: str | None
    """Why it may not be."""


def arm(
    sensor: Sensor, attributor: Attributor | None, scope: Scope, options: RunOptions
) -> Armed:
    """Attach the probes to the scope, and have the command's process wait in it.

    Raises an error with a hint where that cannot be.
    """
    mask = signals.block()
    flush_output()
    sensor.attach()
    if attributor is not None:
        attributor.begin()
    plan = sensor.arm()
    around = look_around(options.user.uid)
    network, no_network = _watch_network(around)
    sensor.adopt_inherited()
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
        if attributor is not None:
            attributor.wind_up()
        if network is not None:
            network.close()
        if options.page is not None:
            options.page.close()
        if options.evidence_file is not None:
            options.evidence_file.close()

    keeping = Keeping(
        engine=sensor.engine,
        scope=scope,
        child=child,
        relay=signals.SignalRelay(child.pidfd),
        user=options.user,
        ready_file=options.ready_file,
        allow_incomplete=options.allow_incomplete,
        let_go=let_go,
        at_end=options.at_end,
    )
    return Armed(keeping, plan, escalation, around, network, no_network)


# Who may not change the network is not to be blamed for what others change.
def _watch_network(around: Surroundings) -> tuple[NetworkWatch | None, str | None]:
    if not around.network:
        return None, None
    try:
        return NetworkWatch(), None
    except OSError as error:
        return None, f"the network's configuration could not be watched ({error})"
