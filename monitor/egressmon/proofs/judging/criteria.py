"""The criteria of a proof: each with its figures, and whether it holds.

They rest on the plan, on the records of the runs, and on what prove itself saw.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from egressmon.proofs.judging.agreement import differences
from egressmon.proofs.judging.facts import Facts
from egressmon.proofs.plans.destinations import Pattern, parse_pattern
from egressmon.proofs.plans.plan import PROBE, START, STOP, Expectation, Plan
from egressmon.values import dataclass, field

MAX_LISTED = 1000
"""How many details a summary has of a criterion."""

Holds: TypeAlias = Literal["holds", "fails", "unproven"]
Verdict: TypeAlias = Literal["PASS", "FAIL", "INCOMPLETE"]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that a proof asks for."""

    name: str
    result: Holds
    figures: str
    details: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class RunReport:
    """What is known of one run: its records, and what prove saw of it."""

    number: int
    facts: Facts
    failures: list[str]
    """Why phases failed, in their order."""
    doubts: list[str]
    """Why its evidence does not count, besides what it says itself."""
    scenario_s: float = 0.0


def judge_run(plan: Plan, run: RunReport) -> list[Criterion]:
    """Return the criteria of one run."""
    facts = run.facts
    return [
        _complete(run),
        _phases(plan, run),
        _canaries(facts),
        *([_probes(plan, facts)] if plan.probe else []),
        _outlived(facts),
        _violations(facts),
        *(_expected(plan, facts, phase, one) for phase, one in plan.expectations()),
    ]


def expected_phases(plan: Plan) -> list[str]:
    """Return the names of the phases that a whole run has, in their order."""
    probing = [PROBE] if plan.probe else []
    names: list[str] = []
    for phase in plan.phase:
        names += [phase.name, *([START] if plan.starting(phase.name) else [])]
    return [START, *probing, *names, *probing, STOP]


def _phases(plan: Plan, run: RunReport) -> Criterion:
    wanted = expected_phases(plan)
    marks = run.facts.phases
    completed = run.facts.completed()
    whole = [
        mark
        for name in wanted
        for mark in ((name, "begin", None), (name, "end", "completed"))
    ]
    holds = marks == whole and not run.failures
    figures = f"{len(completed)} of {len(wanted)} phases completed"
    return Criterion("phases", "holds" if holds else "unproven", figures, run.failures)


def _complete(run: RunReport) -> Criterion:
    end = run.facts.end
    reasons = list(dict.fromkeys(run.doubts))
    if run.facts.broken is not None:
        reasons.append(f"the evidence is broken: {run.facts.broken}")
    if end is None:
        reasons.append("the evidence has no end")
    else:
        reasons += map(str, end["incomplete_reasons"])
        if not end["complete"] and not end["incomplete_reasons"]:
            reasons.append("the run says that it is incomplete")
    result: Holds = "unproven" if reasons else "holds"
    lost = sum(
        count
        for name, count in (end or {}).get("losses", {}).items()
        if name.startswith(("lost_", "un", "left_out"))
    )
    figures = f"{run.facts.records} records, {lost} lost"
    return Criterion("nothing lost", result, figures, reasons)


def _canaries(facts: Facts) -> Criterion:
    seen, sent = sum(facts.canaries), len(facts.canaries)
    holds = seen == sent and sent > 0
    figures = f"{seen} of {sent} canaries seen and refused"
    return Criterion("canaries", "holds" if holds else "unproven", figures)


def _probes(plan: Plan, facts: Facts) -> Criterion:
    missing: list[str] = []
    for probe in plan.probe:
        wanted = parse_pattern(probe.destination)
        verdicts = [
            peer.verdict
            for peer, count in facts.peers.items()
            for _ in range(count)
            if peer.is_probe
            and wanted.covers(peer.names, peer.ip, peer.port, peer.protocol)
        ]
        if len(verdicts) < 2:
            missing.append(f"{probe.destination}: seen {len(verdicts)} of 2 times")
        elif set(verdicts) != {probe.verdict}:
            found = ", ".join(sorted(set(verdicts)))
            missing.append(f"{probe.destination}: {found}, not {probe.verdict}")
    figures = f"{len(plan.probe) - len(missing)} of {len(plan.probe)} probes noticed"
    return Criterion("probes", "unproven" if missing else "holds", figures, missing)


def _outlived(facts: Facts) -> Criterion:
    outlived = [
        f"{one['comm']} ({one['pid']})" for one in (facts.end or {}).get("outlived", [])
    ]
    figures = f"{len(outlived)} processes were left and killed"
    return Criterion(
        "all ended",
        "unproven" if outlived or facts.end is None else "holds",
        figures,
        outlived,
    )


def _violations(facts: Facts) -> Criterion:
    count = facts.violations
    made = {
        f"{peer.label} " + (f"in phase {peer.phase}" if peer.phase else "in no phase")
        for peer in facts.peers
        if peer.verdict == "violation" and not peer.is_probe
    }
    details = sorted(made)
    if facts.bad_queries:
        details.append(f"{facts.bad_queries} look-ups")
    return Criterion(
        "no violation", "fails" if count else "holds", f"{count} violations", details
    )


def _expected(plan: Plan, facts: Facts, phase: str, wanted: Expectation) -> Criterion:
    count, unclear = _counted(facts, phase, parse_pattern(wanted.destination))
    least, most = wanted.at_least, wanted.at_most
    result = _within(count, unclear, least or 0, most)
    # Of a phase that was cut short, the count says nothing.
    if facts.completed().count(phase) < expected_phases(plan).count(phase):
        result = "unproven"
    bounds = [
        *([f"at least {least}"] if least is not None else []),
        *([f"at most {most}"] if most is not None else []),
    ]
    name = f"expected: {phase}: {wanted.destination} {' and '.join(bounds)}"
    figures = f"{count} connections"
    if unclear:
        figures += f", and {unclear} by a name that is masked, cut or forgotten"
    return Criterion(name, result, figures)


# How many connections are meant, and of how many nobody can tell.
def _counted(facts: Facts, phase: str, pattern: Pattern) -> tuple[int, int]:
    count = unclear = 0
    for peer, times in facts.peers.items():
        if peer.phase != phase or peer.op == "accept" or peer.is_probe:
            continue
        if pattern.is_any and not peer.leaves:
            continue
        found = pattern.covers(peer.names, peer.ip, peer.port, peer.protocol)
        are_more = peer.names_are_cut or facts.names_dropped
        if not found and are_more and pattern.could_cover(peer.port, peer.protocol):
            found = None
        count += times if found else 0
        unclear += times if found is None else 0
    return count, unclear


# It holds, or fails, only if it does whatever the unclear ones were.
def _within(count: int, unclear: int, least: int, most: int | None) -> Holds:
    ceiling = count + unclear if most is None else most
    if count >= least and count + unclear <= ceiling:
        return "holds"
    if count + unclear < least or count > ceiling:
        return "fails"
    return "unproven"


def bounded(doubts: list[str]) -> list[str]:
    """Return `doubts` as far as a summary has them, from where verify takes them."""
    if len(doubts) <= MAX_LISTED:
        return doubts
    left = len(doubts) - MAX_LISTED + 1
    return [*doubts[: MAX_LISTED - 1], f"{left} more doubts are not listed"]


def judge_all(plan: Plan, runs: list[RunReport], doubts: list[str]) -> list[Criterion]:
    """Return the criteria of the whole proof; `doubts` are reasons against it."""
    done = len(runs)
    return [
        *_joined(plan, runs),
        *_agreement(plan, runs),
        Criterion(
            "nothing was changed",
            "unproven" if doubts else "holds",
            f"{len(doubts)} doubts",
            doubts,
        ),
        Criterion(
            "runs",
            "holds" if done == plan.runs else "unproven",
            f"{done} of {plan.runs} runs made",
        ),
    ]


# The criteria of all runs, each as one.
def _joined(plan: Plan, runs: list[RunReport]) -> Iterator[Criterion]:
    judged = [(run.number, judge_run(plan, run)) for run in runs]
    for place in range(len(judged[0][1]) if judged else 0):
        each = [(number, criteria[place]) for number, criteria in judged]
        results = {one.result for _, one in each}
        result: Holds = (
            "fails"
            if "fails" in results
            else "unproven"
            if "unproven" in results
            else "holds"
        )
        figures = "; ".join(f"run {number}: {one.figures}" for number, one in each)
        details = [
            f"run {number}: {text}" for number, one in each for text in one.details
        ]
        yield Criterion(each[0][1].name, result, figures, details)


_OF_CALLERS = frozenset({"packages", "routes"})
"""What is unknown where it was missed who made a call."""


def _agreement(plan: Plan, runs: list[RunReport]) -> Iterator[Criterion]:
    for what in plan.agree:
        found = [
            run.facts.destinations()
            if what == "destinations"
            else getattr(run.facts, what)
            for run in runs
        ]
        # A run that was cut short may lack what it had not come to.
        by_number = {
            run.number: each
            for run, each in zip(runs, found, strict=True)
            if run.facts.completed() == expected_phases(plan)
        }
        differing = differences(by_number)
        counts = ", ".join(str(len(one)) for one in found)
        figures = f"{counts} in the runs, {len(differing)} differ"
        result: Holds = "holds" if len(by_number) == len(runs) else "unproven"
        # What was missed in one of them is no difference in what they did.
        is_unclear = what in _OF_CALLERS and any(
            run.facts.missed_callers for run in runs
        )
        if differing:
            result = "unproven" if is_unclear else "fails"
        yield Criterion(f"runs agree: {what}", result, figures, differing)


def verdict_of(criteria: list[Criterion]) -> tuple[Verdict, str]:
    """Return the verdict on the proof, and the reason for it."""
    for result, verdict in (("fails", "FAIL"), ("unproven", "INCOMPLETE")):
        for one in criteria:
            if one.result == result:
                why = one.details[0] if one.details else one.figures
                return verdict, f"{one.name}: {why}"  # type: ignore[return-value]
    return "PASS", "every criterion holds"
