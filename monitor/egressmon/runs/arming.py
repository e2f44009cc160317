"""The steps of a run that need root, before the process splits in two."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from egressmon.attribution import existing_sockets
from egressmon.attribution.existing import Existing, above, found, look
from egressmon.attribution.existing_sockets import Sockets
from egressmon.attribution.stage import Attributor
from egressmon.errors import ScopeError
from egressmon.keeping.launch import Launched, flush_output, launch
from egressmon.keeping.setup import KeeperSetup
from egressmon.keeping.signals import SignalRelay
from egressmon.keeping.witness import Witness
from egressmon.runs.plan import RunOptions, Standing
from egressmon.sensor.canary import Plan
from egressmon.sensor.escalation import Escalation, runs_as_root
from egressmon.sensor.found_scope import FoundScope
from egressmon.sensor.inherited import adopt
from egressmon.sensor.scope import Scope
from egressmon.sensor.sensor import Sensor
from egressmon.sensor.surroundings import NetworkWatch, Surroundings, look_around
from egressmon.startup import patience
from egressmon.values import dataclass, replace

if TYPE_CHECKING:
    from egressmon.containers.around import Around
    from egressmon.keeping.kept import Keeping
    from egressmon.probes.engine import Engine

_MAX_SWEEPS = 100


@dataclass(frozen=True, slots=True)
class Armed:
    """What exists once the probes are attached and the command's process waits."""

    keeper_setup: KeeperSetup
    plan: Plan
    """The addresses to which the command's process sent the first canaries."""
    escalation: Escalation
    surroundings: Surroundings
    network: NetworkWatch | None
    """Notes changes of the network; None if the command may make none, or if it failed
    to start."""
    doubts: list[str]
    """Why the run cannot be clean, already: a network that cannot be watched, what the
    command inherits."""
    existing: list[Existing]
    """What was in the scope before it was watched."""
    above: list[Existing]
    """Who is above these, and not in the scope."""
    sockets: Sockets
    """The connections that it had, then."""
    around: "Around | None" = None
    """By what containers are known; None: there is no need to know them."""
    is_part: bool = False
    """Whether only what some containers do is recorded."""


def arm(
    sensor: Sensor, attributor: Attributor | None, scope: Scope, options: RunOptions
) -> Armed:
    """Attach the probes to `scope`, and fork the command's process, which waits there.

    Raises an `EgressmonError` if either fails.
    """
    flush_output()
    sensor.attach()
    if sensor.engine.kept is not None:
        sensor.intake.read_ahead()  # the rings may be full, and lose the canaries
    if attributor is not None:
        attributor.begin()
    sensor.engine.is_part = options.chooses
    plan = sensor.arm()
    surroundings = _surroundings(scope, options)
    network, no_network_watch = _watch_network(surroundings, options)
    doubts = adopt(sensor.engine) if options.standing is None else []
    if no_network_watch is not None:
        doubts.append(no_network_watch)
    escalation = _examine_escalation(options)
    child = launch(
        scope,
        plan,
        options.user,
        options.command,
        may_gain=options.may_gain,
        only_waits=options.standing is not None,
    )
    if options.standing is not None and options.standing.kept is not None:
        _keep(options.standing.kept, sensor.engine)
    close = partial(_close_agents_files, child, attributor, network, options)
    keeper_setup = _set_up_keeper(sensor, scope, options, child, close)
    existing = _admit_existing(sensor, scope)
    sockets = _existing_sockets(existing)
    around = _look_for_containers(scope, options)
    if around is not None:
        both = partial(_close_both, close, around)
        keeper_setup = replace(keeper_setup, close_agents_files=both)
    return Armed(
        keeper_setup, plan, escalation, surroundings, network, doubts, existing,
        above=above(existing), sockets=sockets, around=around,
        is_part=options.chooses,
    )  # fmt: skip


def _close_both(close: Callable[[], None], around: "Around") -> None:
    around.close()
    close()


def _keep(kept: "Keeping", engine: "Engine") -> None:
    kept.hold(engine)
    if kept.failure:
        patience.say(
            f"egressmon: the probes are not kept ({kept.failure}): a crash will "
            "leave a gap\n"
        )


# Last of all: no other process is to have the agent's end of the asker's socket.
def _look_for_containers(scope: Scope, options: RunOptions) -> "Around | None":
    if not isinstance(scope, FoundScope) or options.standing is None:
        return None
    from egressmon.containers import around  # noqa: PLC0415 -- only where it is used

    standing = options.standing
    return around.look_around(
        scope.root, standing.engine_sockets, with_members=bool(standing.wanted)
    )


# What ran before, once its forks and execs are seen: so nothing is missed in between.
def _admit_existing(sensor: Sensor, scope: Scope) -> list[Existing]:
    if not isinstance(scope, FoundScope):
        return []
    from egressmon.attribution.steps import STARTERS  # noqa: PLC0415 -- a sidecar's

    if scope.goes_by_lineage:
        return found(_admit_lineage(sensor, scope), STARTERS)
    existing = found(scope.members(), STARTERS)
    sensor.engine.admit(one.pid for one in existing)
    return existing


# Again and again, until nothing new is found: what a process forked before it was
# admitted is found by its parent, and what it forks later is seen.
def _admit_lineage(sensor: Sensor, scope: FoundScope) -> set[int]:
    known: set[int] = set()
    for _ in range(_MAX_SWEEPS):
        new = [pid for pid in scope.members() if pid not in known]
        if not new:
            return known
        sensor.engine.admit(new)
        there = {pid for pid in new if look(pid) is not None}
        known |= there
        sensor.engine.dismiss(set(new) - there)  # its end was not seen, or it was
    raise ScopeError(
        "what is to be watched starts processes faster than they are found",
        "watch the whole machine (--all), or a cgroup",
    )


# After the probes are attached: what is connected later is seen by them.
def _existing_sockets(existing: list[Existing]) -> Sockets:
    if not existing:
        return Sockets([])
    return existing_sockets.found(one.pid for one in existing)


def _surroundings(scope: Scope, options: RunOptions) -> Surroundings:
    if isinstance(scope, FoundScope):
        return Surroundings(
            may_change_network=True,
            same_user_runs=options.chooses or not scope.is_machine,
        )
    return look_around(options.user.uid)


def _examine_escalation(options: RunOptions) -> Escalation:
    if options.standing is not None:
        why = "processes of root may be in the scope"
        return Escalation(as_root=why, can_sudo=None, withheld_by=None)
    return Escalation(
        as_root=runs_as_root(options.user),
        can_sudo=options.sudo.reason() if options.sudo is not None else None,
        withheld_by=None if options.may_gain else options.enforce,
    )


def _set_up_keeper(
    sensor: Sensor,
    scope: Scope,
    options: RunOptions,
    child: Launched,
    close_agents_files: Callable[[], None],
) -> KeeperSetup:
    return KeeperSetup(
        engine=sensor.engine,
        scope=scope,
        child=child,
        relay=SignalRelay(
            child,
            Witness(options.user),
            scope.kill if options.ends_scope else None,
            only_ending=options.standing is not None,
        ),
        user=options.user,
        ready_file=options.ready_file,
        allow_incomplete=options.allow_incomplete,
        close_agents_files=close_agents_files,
        at_end=options.at_end,
        ends_scope=options.ends_scope,
        is_standing=options.standing is not None,
        segments=options.standing.folder if options.standing else None,
        open_policy=options.standing.open_policy if options.standing else None,
        notify=_notify(options.standing) if options.standing else None,
        kept=options.standing.kept if options.standing else None,
        release=options.standing.place.release if options.standing else None,
    )


def _notify(standing: Standing) -> Callable[[int, int, int], None] | None:
    notifier = standing.notifier
    if notifier is None:
        return None
    from egressmon.sidecar.notifying import State  # noqa: PLC0415 -- a sidecar's alone

    def notify(state: int, connections: int, violations: int) -> None:
        notifier.tell(State(state), connections, violations)

    return notify


# To be called in the keeper, which inherits these. Only the agent uses them: left open
# here, a reader at the other end of a pipe would wait for the keeper as well.
def _close_agents_files(
    child: Launched,
    attributor: Attributor | None,
    network: NetworkWatch | None,
    options: RunOptions,
) -> None:
    child.forget_attempts()
    if attributor is not None:
        attributor.wind_up()
    if network is not None:
        network.close()
    if options.control is not None:
        options.control.close()
    if options.standing is not None:
        options.standing.leave_to_agent()
    if options.page is not None:
        options.page.close()
    if options.anchor is not None:
        options.anchor.close()
    if options.evidence_file is not None:
        options.evidence_file.close()


# Watched only if the command may change the network: it must not be blamed for changes
# that only others can have made.
# Of a scope that was there before, all that changes it is declared, and not doubted:
# container engines do nothing else.
def _watch_network(
    surroundings: Surroundings, options: RunOptions
) -> tuple[NetworkWatch | None, str | None]:
    if not surroundings.may_change_network or options.standing is not None:
        return None, None
    try:
        return NetworkWatch(), None
    except OSError as error:
        return None, f"the network's configuration could not be watched ({error})"
