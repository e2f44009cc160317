"""Print how a run went, for people: the verdict first, on standard error."""

import errno
import os
from collections import Counter
from collections.abc import Iterator
from typing import TextIO

from egressmon.evidence.masking import redacted
from egressmon.reports.runs.outcome import NOT_RUN, Outcome
from egressmon.reports.runs.paper import Paper
from egressmon.reports.runs.rows import rows
from egressmon.reports.writing.wording import counted, plural

_STYLES = {"clean": "bold green", "violations": "bold red", "incomplete": "bold yellow"}
_MAX_CONTAINERS = 10
_MAX_ROWS = 20
# Besides the probes' own losses (lost_*), the counts that make a run incomplete in
# runs/conclude.py.
_DOUBTS = frozenset({
    "unreadable", "unread", "left_out", "dns_broken", "dns_left_out", "evidence"
})  # fmt: skip
_NO_DOUBTS = {
    "dns_malformed": "unreadable DNS messages",
    "dns_unread": "DNS messages not read",
    "names_dropped": "names forgotten",
    "missed_stack": "modules unknown",
    "missed_frames": "Python stacks unknown",
    "missed_code": "functions without a name",
    "missed_mapping": "mappings not told of",
    "missed_cgroup": "cgroups not told of",
}
_WORDS = (
    ("violation", "in violation"),
    ("allowed", "allowed"),
    ("local", "local"),
    ("recorded", "recorded only"),
)


class Summary:
    """The summary for people."""

    def __init__(self, *, quiet: bool) -> None:
        """`quiet`: say nothing unless something is wrong."""
        self._quiet = quiet

    def tell(self, outcome: Outcome) -> None:
        """Print the summary on standard error, if it is wanted."""
        if outcome.exec_errno and self._quiet:
            _print_headline(outcome, Paper())
            return
        if outcome.is_grave or not self._quiet:
            print_summary(outcome)


def print_summary(outcome: Outcome, *, stream: TextIO | None = None) -> None:
    """Print the summary to `stream` (default: standard error).

    It is plain text, each row and each fact in one line, unless `stream` is a terminal.
    """
    paper = Paper(stream)
    _print_headline(outcome, paper)
    found = rows(outcome)
    paper.rows(found[:_MAX_ROWS])
    if len(found) > _MAX_ROWS:
        paper.fact(f"{len(found) - _MAX_ROWS} more rows, all in the evidence")
    if outcome.proposal is not None:
        paper.proposal(outcome.proposal)
    for line in _details(outcome):
        paper.fact(line)


def print_lesson(
    outcome: Outcome,
    output: str,
    stream: TextIO | None = None,
    audit: str | None = None,
) -> None:
    """Print what a learning run saw, and that its policy is in `output`.

    `audit` is where its inventory is; None: there is none.
    """
    paper = Paper(stream)
    if outcome.exec_errno:
        _print_headline(outcome, paper)
    seen = plural(outcome.tally.seen_connections.total(), "connection")
    queries = plural(outcome.tally.seen_queries.total(), "DNS look-up")
    paper.headline("learned", "bold", f" from {seen}, {queries}")
    for line in (
        f"policy, for review: {redacted(output)}",
        *([f"inventory, for review: {redacted(audit)}"] if audit is not None else []),
        *_doubts(outcome),
        *_evidence(outcome),
    ):
        paper.fact(line)


def _print_headline(outcome: Outcome, paper: Paper) -> None:
    if why := not_run(outcome):
        paper.headline(why, "bold yellow", "")
        return
    verdict = outcome.end.verdict
    paper.headline(verdict, _STYLES[verdict], f" ({counts(outcome)})")


def not_run(outcome: Outcome) -> str:
    """Return why the command was not run; "" if it was."""
    if not outcome.exec_errno:
        return ""
    command = redacted(outcome.command) or "the command"
    if outcome.exec_errno == errno.ENOENT:
        return f"not run: {command} was not found"
    return f"not run: {command}: {os.strerror(outcome.exec_errno)}"


def counts(outcome: Outcome) -> str:
    """Return how much was seen, in one line, and how much of it the evidence lacks.

    What is in violation comes first.
    """
    end, tally = outcome.end, outcome.tally
    processes = plural(tally.seen_processes, "process", "processes")
    parts = [
        _counted(tally.seen_connections, end.connections, "connection"),
        _counted(tally.seen_queries, end.queries, "DNS look-up"),
    ]
    if not tally.seen_connections["violation"] and tally.seen_queries["violation"]:
        parts.reverse()
    return "; ".join(
        [*parts, processes + _missing(tally.seen_processes - end.processes)]
    )


def _counted(seen: Counter[str], kept: dict[str, int], what: str) -> str:
    parts = [f"{seen[word]} {shown}" for word, shown in _WORDS if seen[word]]
    inside = f": {', '.join(parts)}" if parts else ""
    missing = _missing(seen.total() - sum(kept.values()))
    return plural(seen.total(), what) + inside + missing


def _missing(count: int) -> str:
    return f" ({count} of them not in the file)" if count > 0 else ""


def _details(outcome: Outcome) -> Iterator[str]:
    facts, where = _evidence(outcome)
    yield from outcome.notes
    yield from _doubts(outcome)
    yield from _places(outcome)
    yield facts
    named = redacted(str(outcome.policy)) if outcome.policy else "none found"
    policy = f"policy: {named} ({outcome.enforce})"
    if outcome.policy is None:
        policy += "; to have one written for review: egressmon learn -- COMMAND"
    yield policy
    if len(outcome.end.policies) > 1:
        digests = ", then ".join(one.policy_digest for one in outcome.end.policies)
        yield f"it was reloaded: judged by {digests}"
    yield where


# Where connections come from, if not all from one command.
def _places(outcome: Outcome) -> Iterator[str]:
    tally = outcome.tally
    if set(tally.origins) - {"job"}:
        yield f"by origin: {counted(tally.origins)}"
    if tally.steps:
        yield f"by step (claimed): {counted(tally.steps)}"


# What may be missing or needs a look, a line each.
def _doubts(outcome: Outcome) -> Iterator[str]:
    end = outcome.end
    for reason in end.incomplete_reasons:
        if reason != NOT_RUN:  # the headline has said it
            yield f"incomplete: {reason}"
    if outcome.tally.ungrouped:
        yield f"{outcome.tally.ungrouped} more violations, in the evidence only"
    if end.unnamed_addresses:
        addresses = plural(end.unnamed_addresses, "address", "addresses")
        yield f"{addresses} without a name"
    if end.bypasses:
        yield _bypasses(outcome)
    if set(end.guard) & {"passed", "bypassed"}:
        yield _guard(outcome)
    yield from _by_container(outcome)
    if end.unattributed_flows:
        yield f"{plural(end.unattributed_flows, 'flow')} without a process"
    if end.outlived:
        names = ", ".join(f"{one.comm} ({one.pid})" for one in end.outlived[:10])
        yield f"still running, no longer watched: {names}"


# Their names are claims where their engine did not confirm them.
def _by_container(outcome: Outcome) -> Iterator[str]:
    found = outcome.tally.containers
    most = found.connections.most_common(_MAX_CONTAINERS)
    if not most:
        return
    rest = found.connections.total() - sum(count for _, count in most)
    parts: list[str] = []
    for key, count in most:
        bad = found.violations[key]
        suffix = f" ({plural(bad, 'violation')})" if bad else ""
        parts.append(f"{redacted(found.label(key))} {count}{suffix}")
    more = f", {rest} of others" if rest else ""
    yield f"connections by container: {', '.join(parts)}{more}"


# How many went through a guard inside their process, and what went around it.
def _guard(outcome: Outcome) -> str:
    found = outcome.end.guard
    passed, around = found.get("passed", 0), found.get("bypassed", 0)
    text = f"{plural(passed, 'connection')} through the guard, {around} around it"
    if around:
        listed, rest = _most_common(outcome.tally.around_guard)
        text += f": {listed}" + (f", {rest} more" if rest else "")
    parts = [f"{found[one]} {one}" for one in ("absent", "unknown") if found.get(one)]
    return "; ".join([text, *parts])


def _most_common(counts: Counter[str]) -> tuple[str, int]:
    most = counts.most_common(5)
    rest = counts.total() - sum(count for _, count in most)
    return ", ".join(f"{count} by {who}" for who, count in most), rest


# Those in violation are in the rows.
def _bypasses(outcome: Outcome) -> str:
    others = outcome.tally.other_bypasses
    listed, rest = _most_common(others)
    count = plural(outcome.end.bypasses, "bypass", "bypasses")
    text = f"{count} of the language's own sockets"
    if not listed:
        return text
    allowed = " allowed:" if others.total() < outcome.end.bypasses else ""
    return f"{text}:{allowed} {listed}" + (f", {rest} more" if rest else "")


def _evidence(outcome: Outcome) -> tuple[str, str]:
    end = outcome.end
    path = redacted(outcome.evidence_path)
    where = (
        f"evidence: {path} "
        f"({plural(outcome.evidence_records, 'record')}, head {outcome.evidence_head})"
    )
    if outcome.evidence_failure is not None:
        where = f"evidence NOT written: {path}: "
        where += outcome.evidence_failure
    facts = (
        f"{losses_line(end.losses)}; canaries seen: "
        f"{end.canaries['seen']} of {end.canaries['sent']}; blind spots: "
        + (", ".join(outcome.blind_spots) or "none")
    )
    return facts, where


def losses_line(losses: dict[str, int]) -> str:
    """Return what was lost, in one line.

    The losses that make a run incomplete are one number; the others are named.
    """
    lost = sum(count for name, count in losses.items() if _casts_doubt(name))
    parts = [f"{plural(lost, 'event')} lost or unreadable"]
    parts += [
        f"{count} {_NO_DOUBTS.get(name, name)}"
        for name, count in losses.items()
        if count and not _casts_doubt(name)
    ]
    return "; ".join(parts)


def _casts_doubt(name: str) -> bool:
    return name.startswith("lost_") or name in _DOUBTS
