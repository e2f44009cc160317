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


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the stages of one run are joined with."""

    judge: Judge
    knowledge: Knowledge
    who_listens: WhoListens
    before_unnamed: Callable[[], None]
    """Called before each verdict on an address without a known name."""
    attribute: Attribute
    """Returns who made a flow; it asks `attributor`."""
    attributor: Attributor | None
    """Notified of mappings, stacks and processes; None: nothing is attributed."""
    clock: Clock
    faults: Faults
    sink: Sink
    """Where the records go."""
    is_over: Callable[[], bool] = lambda: False
    """Whether the time for events is over."""
    may_translate: bool = False
    """Whether the command itself may have its packets sent elsewhere."""
    lines: Lines | None = None
    """Leads where `sink` leads: what repeats is then rendered only once."""
    look: Look | None = None
    """Returns what is believed of how a process looks names up: each network namespace
    then has names of its own. None: all have the same."""
    is_machine: bool = False
    """Whether all processes of this machine are in the scope."""
    is_part: bool = False
    """Whether only what some of the scope's containers do is recorded."""
    excuses_unsent: bool = False
    """Whether canaries of other runs, which go nowhere, are no violations."""
    own: frozenset[int] = frozenset()
    """The processes that are egressmon's: what they send is left out."""
    phase_at: Callable[[int], str | None] = lambda _ktime_ns: None
    """Returns which phase of a scenario it was at a time (ns since boot)."""


def assemble(wiring: Wiring) -> Pipeline:
    """Return a pipeline whose records go to the sink of `wiring`."""
    knowledge = wiring.knowledge
    callers = Callers(knowledge.processes, wiring.attribute)
    where = _where(knowledge, wiring.look, wiring.sink)
    places = Places(knowledge.names, wiring.judge, where)
    connections = _connections(wiring, places, callers)
    repeated, lookups = _repeating(wiring, connections, callers)
    return Pipeline(
        processes=knowledge.processes,
        queries=_queries(wiring, places, callers, lookups),
        connections=connections,
        canaries=knowledge.canaries,
        attributor=wiring.attributor,
        clock=wiring.clock,
        faults=wiring.faults,
        sink=wiring.sink,
        is_over=wiring.is_over,
        own=wiring.own,
        lines=wiring.lines,
        lookups=lookups,
        repeated=repeated,
    )


def _connections(wiring: Wiring, places: Places, callers: Callers) -> Connections:
    knowledge, has_places = wiring.knowledge, wiring.look is not None
    return Connections(
        places,
        callers,
        Locality(
            wiring.who_listens,
            knowledge.canaries,
            is_machine=wiring.is_machine,
            is_part=wiring.is_part,
        ),
        wiring.before_unnamed,
        may_translate=wiring.may_translate,
        excuses_unsent=wiring.excuses_unsent,
        relays=_relays(knowledge.processes) if has_places else None,
    )


def _queries(
    wiring: Wiring, places: Places, callers: Callers, lookups: RepeatedLookups | None
) -> Queries:
    processes = wiring.knowledge.processes
    return Queries(
        places,
        callers,
        wiring.knowledge.canaries,
        may_translate=wiring.may_translate,
        phase_at=wiring.phase_at,
        repeated=lookups,
        is_machines=processes.is_machines if wiring.is_machine else None,
    )


# What makes records like earlier ones, of connections and of look-ups: both go by what
# the same answers rest on.
def _repeating(
    wiring: Wiring, connections: Connections, callers: Callers
) -> tuple[RepeatedConnections | None, RepeatedLookups | None]:
    lines, faults = wiring.lines, wiring.faults
    if lines is None:
        return None, None
    basis = _basis(wiring.knowledge.processes, wiring.attributor)
    return (
        RepeatedConnections(connections, basis, lines, faults),
        RepeatedLookups(callers, basis, lines, faults),
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
