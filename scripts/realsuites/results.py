"""The figures of one suite, summed up from its runs."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import outcomes
from catalogue import Suite
from measuring import Cost
from runs import Check, Turn
from straced import Connect

# Above this, other programs take what the suite could have had: half a core.
BUSY_CORES = 0.5


@dataclass(frozen=True)
class Result:
    """What was found out about one suite; times in seconds, medians of the rounds."""

    suite: str
    version: str
    rounds: int
    bare: dict[str, int]
    watched: dict[str, int]
    """Tests by outcome, in the first round."""
    changed: list[str]
    """Tests that ended in a watched run as they did in no bare one."""
    unsteady: list[str]
    """Tests that end differently from one bare run to the next."""
    cpu_s: tuple[float, float]
    """Bare and watched; the latter with the agent."""
    wall_s: tuple[float, float]
    start_up_cpu_s: float
    """Of `egressmon watch -- true`, which is part of each watched run."""
    cpu_ratio: float
    cpu_ratio_of_running: float
    """Without the start-up, which a longer suite pays once as well."""
    wall_ratio: float
    others: float
    """How many cores everything else on the machine kept busy."""
    complete: bool
    connections: int
    straced: int
    missing: list[Connect]
    elsewhere: list[str]
    """Peers that are not local."""
    compared: int
    tests: dict[str, int]
    stacks: int
    unpaired_truths: int
    unpaired_connections: int
    differences: list[dict[str, Any]]

    @property
    def busy(self) -> bool:
        """Whether the machine had much else to do."""
        return self.others > BUSY_CORES

    @property
    def tests_right(self) -> int:
        """For how many connects the right test is named, its parameters aside."""
        return self.tests.get("same", 0) + self.tests.get("no parameters", 0)

    def wrong(self) -> bool:
        """Tell whether something is not as it should be; slowness does not count."""
        unlike = self.changed or self.missing or not self.complete
        right = self.tests_right == self.stacks == self.compared
        return bool(unlike) or not right

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return {**asdict(self), "busy": self.busy, "tests_right": self.tests_right}


def summed_up(
    suite: Suite,
    start_ups: Sequence[Cost],
    bare: Sequence[Turn],
    watched: Sequence[Turn],
    check: Check,
) -> Result:
    """Return the figures of a suite's runs."""
    cpu = median(bare, lambda one: one.cpu_s), median(watched, lambda one: one.cpu_s)
    wall = median(bare, lambda one: one.wall_s), median(watched, lambda one: one.wall_s)
    start_up = statistics.median(one.cpu_s for one in start_ups)
    without = [one.outcomes for one in bare]
    beside = [one.outcomes for one in watched]
    found, evidence = check.comparison, check.evidence
    return Result(
        suite=suite.name,
        version=suite.version,
        rounds=len(bare),
        bare=outcomes.counts(without[0]),
        watched=outcomes.counts(beside[0]),
        changed=outcomes.changed(without, beside),
        unsteady=outcomes.unsteady(without),
        cpu_s=cpu,
        wall_s=wall,
        start_up_cpu_s=start_up,
        cpu_ratio=cpu[1] / cpu[0],
        cpu_ratio_of_running=(cpu[1] - start_up) / cpu[0],
        wall_ratio=wall[1] / wall[0],
        others=max(one.cost.others for one in (*bare, *watched)),
        complete=evidence.end["complete"],
        connections=len(evidence.connections),
        straced=check.straced,
        missing=check.missing,
        elsewhere=sorted(
            {one.connect.ip for one in evidence.connections if one.verdict != "local"}
        ),
        compared=found.compared,
        tests=dict(found.tests),
        stacks=found.stacks,
        unpaired_truths=found.unpaired_truths,
        unpaired_connections=found.unpaired_connections,
        differences=found.differences,
    )


def median(turns: Sequence[Turn], of: Callable[[Cost], float]) -> float:
    """Return the median of what `of` takes from each turn's cost."""
    return statistics.median(of(turn.cost) for turn in turns)
