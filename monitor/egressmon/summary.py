"""Tell a person how a run went: verdict first, on standard error."""

import sys
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from egressmon.outcome import Outcome
from egressmon.text import printable

_STYLES = {"clean": "bold green", "violations": "bold red", "incomplete": "bold yellow"}
_MAX_ROWS = 20
_PLAIN_WIDTH = 160


def print_summary(outcome: Outcome, *, stream: TextIO = sys.stderr) -> None:
    """Print the summary of outcome to stream; plain text unless it is a terminal."""
    console = _console(stream)
    console.print(_headline(outcome))
    for table in _violations(outcome):
        console.print(table)
    for line in _details(outcome):
        console.print(Text("  " + printable(line, 2000)))


def print_lesson(outcome: Outcome, output: str, stream: TextIO = sys.stderr) -> None:
    """Print what a run taught, and where the policy is that was written from it."""
    console = _console(stream)
    seen = sum(outcome.end.connections.values())
    queries = sum(outcome.end.queries.values())
    console.print(
        Text("egressmon: ")
        .append("learned", style="bold")
        .append(f" from {_plural(seen, 'connection')}, ")
        .append(_plural(queries, "DNS look-up"))
    )
    lines = [f"policy, for review: {output}"]
    for line in [*lines, *_doubts(outcome), *_evidence(outcome)]:
        console.print(Text("  " + printable(line, 2000)))


def _console(stream: TextIO) -> Console:
    terminal = stream.isatty()
    return Console(
        file=stream,
        width=None if terminal else _PLAIN_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=not terminal,
    )


def _headline(outcome: Outcome) -> Text:
    verdict = outcome.end.verdict
    text = Text("egressmon: ").append(verdict, style=_STYLES[verdict])
    return text.append(f" ({counts(outcome)})")


def counts(outcome: Outcome) -> str:
    """Return what was seen, in one line."""
    seen = outcome.end.connections
    total = sum(seen.values())
    parts = [
        f"{seen.get(word, 0)} {plural}"
        for word, plural in (
            ("allowed", "allowed"),
            ("local", "local"),
            ("violation", "in violation"),
        )
        if seen.get(word)
    ]
    inside = f": {', '.join(parts)}" if parts else ""
    queries = sum(outcome.end.queries.values())
    return (
        f"{_plural(total, 'connection')}{inside}; "
        f"{_plural(queries, 'DNS look-up')}; "
        f"{_plural(outcome.end.processes, 'process', 'processes')}"
    )


def _plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _violations(outcome: Outcome) -> list[Table]:
    groups = outcome.tally.violations.most_common()
    if not groups:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for column in ("  count", "destination", "process", "code", "why"):
        table.add_column(column, overflow="fold", justify="left")
    for (destination, process, code, reason), count in groups[:_MAX_ROWS]:
        table.add_row(
            Text(f"  {count}"),
            Text(printable(destination), style="red"),
            Text(printable(process)),
            Text(printable(code)),
            Text(printable(reason)),
        )
    if len(groups) > _MAX_ROWS:
        rest = len(groups) - _MAX_ROWS
        table.add_row(Text("  …"), Text(f"{rest} more groups, all in the evidence"))
    return [table]


def _details(outcome: Outcome) -> list[str]:
    lines = [*outcome.notes, *_doubts(outcome), *_evidence(outcome)]
    policy = [f"policy: {outcome.policy or 'none found'} ({outcome.enforce})"]
    if outcome.policy is None:
        policy.append("to get a policy for review: egressmon learn -- COMMAND")
    return [*lines[:-1], *policy, lines[-1]]


# What may be missing, in the reader's words.
def _doubts(outcome: Outcome) -> list[str]:
    end = outcome.end
    lines = [f"incomplete: {reason}" for reason in end.incomplete_reasons]
    if outcome.tally.ungrouped:
        lines.append(f"{outcome.tally.ungrouped} more violations, in the evidence only")
    if end.unnamed_addresses:
        lines.append(
            f"{_plural(end.unnamed_addresses, 'address', 'addresses')} without a name"
        )
    if outcome.tally.bypasses:
        most = outcome.tally.bypasses.most_common(5)
        rest = end.bypasses - sum(count for _, count in most)
        listed = ", ".join(f"{count} by {who}" for who, count in most)
        more = f", {rest} more" if rest else ""
        lines.append(
            f"{_plural(end.bypasses, 'bypass', 'bypasses')} of the language's own "
            f"sockets: {listed}{more}"
        )
    if end.unattributed_flows:
        lines.append(f"{_plural(end.unattributed_flows, 'flow')} without a process")
    if end.outlived:
        names = ", ".join(f"{one.comm} ({one.pid})" for one in end.outlived[:10])
        lines.append(f"still running, no longer watched: {names}")
    return lines


def _evidence(outcome: Outcome) -> list[str]:
    end = outcome.end
    lost = sum(end.losses.values())
    where = (
        f"evidence: {outcome.evidence_path} "
        f"({_plural(outcome.evidence_records, 'record')}, head {outcome.evidence_head})"
    )
    if outcome.evidence_failure is not None:
        where = f"evidence NOT written: {outcome.evidence_path}: "
        where += outcome.evidence_failure
    return [
        f"{_plural(lost, 'event')} lost or unreadable; canaries seen: "
        f"{end.canaries['seen']} of {end.canaries['sent']}; blind spots: "
        + (", ".join(outcome.blind_spots) or "none"),
        where,
    ]
