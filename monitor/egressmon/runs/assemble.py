"""Join the stages: for a run, and for whatever else reads events as one does."""

from collections.abc import Callable
from dataclasses import dataclass

from egressmon.attribution.processes import Processes
from egressmon.attribution.result import Attribute
from egressmon.attribution.stage import Attributor
from egressmon.clock import Clock
from egressmon.faults import Faults
from egressmon.naming.names import Names
from egressmon.pipeline import Pipeline, Sink
from egressmon.policy.judge import Judge
from egressmon.sensor.canary import CanaryWatch
from egressmon.verdicts.connections import Connections, Locality, WhoListens
from egressmon.verdicts.queries import Queries


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the stages learn from events, and share."""

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
) -> Pipeline:
    """Return the pipeline that takes events to `sink`, judged by `judge`.

    `before_unnamed` is called ahead of each verdict on an address without a name.
    `attribute` says who made a flow; `attributor`, if any, is what it asks, and is told
    of all that happens.
    """
    names, processes, canaries = (
        knowledge.names,
        knowledge.processes,
        knowledge.canaries,
    )
    return Pipeline(
        processes=processes,
        queries=Queries(judge, names, processes, canaries, attribute),
        connections=Connections(
            judge,
            names,
            processes,
            Locality(who_listens, canaries),
            before_unnamed,
            attribute,
        ),
        canaries=canaries,
        attributor=attributor,
        clock=clock,
        faults=faults,
        sink=sink,
    )
