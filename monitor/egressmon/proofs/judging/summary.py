"""The summaries of a proof: for programs (JSON) and for people (Markdown)."""

import json
from collections import Counter
from collections.abc import Mapping, Sized
from itertools import islice

from egressmon.proofs.judging.criteria import (
    MAX_LISTED,
    Criterion,
    RunReport,
    verdict_of,
)
from egressmon.proofs.judging.facts import Facts
from egressmon.proofs.plans.file import LoadedPlan
from egressmon.proofs.playing.scenario import PhaseResult
from egressmon.sanitise.redaction import redact
from egressmon.text import escape
from egressmon.values import dataclass

SCHEMA = "egressmon-proof/1"
_WORDS = {"holds": "holds", "fails": "**fails**", "unproven": "**unproven**"}


@dataclass(frozen=True, slots=True)
class SummaryOf:
    """What the summaries of the whole proof tell."""

    loaded: LoadedPlan
    policy: str | None
    """The digest of the policy."""
    criteria: list[Criterion]
    reports: list[RunReport]
    began: str
    """When, in UTC."""
    took_s: float
    version: str
    """Of the egressmon that made the proof."""


def run_summary(
    report: RunReport,
    criteria: list[Criterion],
    results: list[PhaseResult],
    statuses: Mapping[str, int | None],
) -> bytes:
    """Return the summary.json of one run; `statuses` are those of its processes."""
    verdict, reason = verdict_of(criteria)
    return _json(
        {
            "schema": SCHEMA,
            "verdict": verdict,
            "reason": redact(reason)[0],
            "run": report.number,
            "head": report.facts.head,
            "records": report.facts.records,
            "criteria": _criteria(criteria),
            "phases": [
                {
                    "name": one.name,
                    "seconds": round(one.seconds, 3),
                    "failure": one.reason and redact(one.reason)[0],
                }
                for one in results
            ],
            "processes": [
                {"name": name, "status": status} for name, status in statuses.items()
            ],
            **_seen(report.facts),
        }
    )


def whole_summary(about: SummaryOf) -> bytes:
    """Return the summary.json of the proof."""
    verdict, reason = verdict_of(about.criteria)
    return _json(
        {
            "schema": SCHEMA,
            "verdict": verdict,
            "reason": redact(reason)[0],
            "egressmon": about.version,
            "began": about.began,
            "seconds": round(about.took_s, 3),
            "plan": {
                "digest": about.loaded.digest,
                "set": list(about.loaded.overrides),
            },
            "policy": {"digest": about.policy},
            "runs": {"wanted": about.loaded.plan.runs, "made": len(about.reports)},
            "criteria": _criteria(about.criteria),
            "heads": {
                f"run-{one.number:02d}/evidence.jsonl": one.facts.head
                for one in about.reports
            },
            "destinations": _first(_destinations(about.reports)),
            "left_out": {"destinations": _left_out(_destinations(about.reports))},
        }
    )


def page(about: SummaryOf) -> bytes:
    """Return SUMMARY.md."""
    verdict, reason = verdict_of(about.criteria)
    lines = [
        f"# {verdict}",
        "",
        _text(f"{reason[:1].upper()}{reason[1:]}."),
        "",
        _about(about),
        "",
        *(f"Set on the command line: `{_text(one)}`" for one in about.loaded.overrides),
        *([""] if about.loaded.overrides else []),
        "| criterion | result | figures |",
        "| --- | --- | --- |",
        *(
            f"| {_text(one.name)} | {_WORDS[one.result]} | {_text(one.figures)} |"
            for one in about.criteria
        ),
        "",
    ]
    for one in about.criteria:
        if one.details:
            lines += [f"## {_text(one.name)}", ""]
            lines += [f"* {_text(text)}" for text in listed(one.details)]
            lines.append("")
    destinations = _destinations(about.reports)
    lines += [
        "## Destinations",
        "",
        "| destination | connections, by run |",
        "| --- | --- |",
    ]
    lines += [
        f"| {_text(name)} | {', '.join(map(str, counts))} |"
        for name, counts in _first(destinations).items()
    ]
    if left_out := _left_out(destinations):
        lines += ["", f"{left_out} more destinations are left out."]
    if not destinations:
        lines[-2:] = ["None: nothing left this scope."]
    return ("\n".join(lines).rstrip("\n") + "\n").encode()


def _about(about: SummaryOf) -> str:
    return (
        f"{len(about.reports)} of {about.loaded.plan.runs} runs, begun "
        f"{about.began}, {about.took_s:.1f} s; egressmon "
        f"{about.version}; plan `{about.loaded.digest}`, policy "
        f"`{about.policy or 'none'}`."
    )


# What came from the runs must neither be markup nor end a cell. Secrets are taken out
# first: with marks between its letters, none would be found any more.
def _text(text: str) -> str:
    shown = escape(redact(text)[0])
    for one in "|`<>*_[]":
        shown = shown.replace(
            one, {"|": "\\|", "<": "&lt;", ">": "&gt;"}.get(one, f"\\{one}")
        )
    return shown


def _destinations(reports: list[RunReport]) -> dict[str, list[int]]:
    found: dict[str, Counter[int]] = {}
    for place, report in enumerate(reports):
        for peer, count in report.facts.peers.items():
            if peer.leaves and not peer.is_probe:
                found.setdefault(peer.label, Counter())[place] += count
    return {
        name: [counts[place] for place in range(len(reports))]
        for name, counts in sorted(found.items())
    }


def _first(found: dict[str, list[int]]) -> dict[str, list[int]]:
    return dict(islice(found.items(), MAX_LISTED))


def _left_out(found: Sized) -> int:
    return max(0, len(found) - MAX_LISTED)


def listed(texts: list[str]) -> list[str]:
    """Return the first of `texts`, and how many more there are."""
    more = [f"… and {left_out} more"] if (left_out := _left_out(texts)) else []
    return texts[:MAX_LISTED] + more


def _seen(facts: Facts) -> dict[str, object]:
    found = {
        "destinations": facts.destinations(),
        "packages": facts.packages,
        "routes": facts.routes,
        "resolvers": facts.resolvers,
    }
    shown = {name: sorted(one)[:MAX_LISTED] for name, one in found.items()}
    return {**shown, "left_out": {name: _left_out(one) for name, one in found.items()}}


def _criteria(criteria: list[Criterion]) -> list[dict[str, object]]:
    return [
        {
            "name": one.name,
            "result": one.result,
            "figures": redact(one.figures)[0],
            "details": [escape(redact(text)[0]) for text in listed(one.details)],
        }
        for one in criteria
    ]


def _json(found: dict[str, object]) -> bytes:
    text = json.dumps(found, indent=2, ensure_ascii=True)
    return f"{text}\n".encode()
