"""Join the stages to a pipeline, for a run and for tests that replay events."""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from egressmon.attribution.processes import Processes
from egressmon.attribution.result import Attribute
from egressmon.attribution.stage import Attributor
from egressmon.clock import Clock
from egressmon.events.glance import FlowHead
from egressmon.events.model import DnsPacket
from egressmon.faults import Faults
from egressmon.naming.names import Names
from egressmon.naming.places import Here, Look, Places, Where
from egressmon.pipeline import Pipeline, Sink
from egressmon.policy.judging.judge import Judge
from egressmon.sensor.canary import CanaryWatch
from egressmon.values import dataclass
from egressmon.verdicts.callers import Callers
from egressmon.verdicts.connections import Connections, Locality, WhoListens
from egressmon.verdicts.queries import Queries
from egressmon.verdicts.repeated import Lines, RepeatedConnections
from egressmon.verdicts.repeated_lookups import Basis, RepeatedLookups

if TYPE_CHECKING:
    from egressmon.verdicts.relays import Relays


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What several stages share: each learns from events, and asks what others did."""

    names: Names
    processes: Processes
    canaries: CanaryWatch


def assemble(  # noqa: PLR0913 -- the stages
    judge: Judge,
    knowledge: Knowledge,
    *,
    who_listens: WhoListens,
    before_unnamed: Callable[[], None],
    attribute: Attribute,
    attributor: Attributor | None,
    clock: Clock,
    faults: Faults,
    sink: Sink,
    is_over: Callable[[], bool] = lambda: False,
    may_translate: bool = False,
    lines: Lines | None = None,
    look: Look | None = None,
    is_machine: bool = False,
    is_part: bool = False,
    excuses_unsent: bool = False,
    own: frozenset[int] = frozenset(),
    phase_at: Callable[[int], str | None] = lambda _ktime_ns: None,
) -> Pipeline:
    """Return a pipeline whose records, with the verdicts of `judge`, go to `sink`.

    `before_unnamed` is called before each verdict on an address without a known name.
    `attribute` returns who made a flow; it asks `attributor`, which the pipeline
    notifies of mappings, stacks and processes (None: nothing is attributed).
    `is_over` says whether the time for events is over.
    `may_translate` says that the command itself may have its packets sent elsewhere.
    `is_machine` says that all processes of this machine are in the scope, `own` which
    of them are egressmon's: what they send is left out. `is_part`: only what some of
    its containers do is recorded.
    `look` returns what is believed of how a process looks names up: each network
    namespace then has names of its own (None: all have the same).
    `excuses_unsent` says that canaries of other runs, which go nowhere, are none.
    `phase_at` says which phase of a scenario it was at a time.
    With `lines`, which leads where `sink` leads, what repeats is rendered only once.
    """
    names, processes, canaries = (
        knowledge.names,
        knowledge.processes,
        knowledge.canaries,
    )
    callers = Callers(processes, attribute)
    places = Places(names, judge, _where(knowledge, look, sink))
    relays = _relays(processes) if look is not None else None
    connections = Connections(
        places,
        callers,
        Locality(who_listens, canaries, is_machine=is_machine, is_part=is_part),
        before_unnamed,
        may_translate=may_translate,
        excuses_unsent=excuses_unsent,
        relays=relays,
    )
    basis = _basis(processes, attributor)
    lookups = (
        RepeatedLookups(callers, basis, lines, faults) if lines is not None else None
    )
    return Pipeline(
        processes=processes,
        queries=Queries(
            places,
            callers,
            canaries,
            may_translate=may_translate,
            phase_at=phase_at,
            repeated=lookups,
            is_machines=processes.is_machines if is_machine else None,
        ),
        connections=connections,
        canaries=canaries,
        attributor=attributor,
        clock=clock,
        faults=faults,
        sink=sink,
        is_over=is_over,
        own=own,
        lines=lines,
        lookups=lookups,
        repeated=RepeatedConnections(connections, basis, lines, faults)
        if lines is not None
        else None,
    )


def _where(knowledge: Knowledge, look: Look | None, sink: Sink) -> Where | None:
    if look is None:
        return None

    def comm(pid: int) -> str:
        process = knowledge.processes.get(pid)
        return process.comm if process is not None else ""

    def container(event: Here) -> str | None:
        process = knowledge.processes.get(event.pid)
        return knowledge.processes.container_of(process, event.cgroup)

    return Where(lambda: knowledge.canaries.netns, look, comm, container, sink)


def _relays(processes: Processes) -> "Relays":
    from egressmon.verdicts.relays import Relays  # noqa: PLC0415 -- for a sidecar alone

    return Relays(
        processes.helper,
        processes.users,
        lambda: processes.helpers,
        processes.is_helper,
    )


# What it rests on who made a flow or a look-up.
def _basis(processes: Processes, attributor: Attributor | None) -> Basis:
    def of(flow: FlowHead | DnsPacket) -> Hashable:
        source = attributor.basis(flow) if attributor is not None else ()
        return (processes.basis(flow.pid), source) if source is not None else None

    return of
