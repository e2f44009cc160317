"""Print how a run went, for people: the verdict first, on standard error."""

import errno
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from egressmon.evidence.tally import GroupKey
from egressmon.reports.outcome import Outcome
from egressmon.text import guarded, printable

_STYLES = {"clean": "bold green", "violations": "bold red", "incomplete": "bold yellow"}
_MAX_ROWS = 20
_COLUMNS = ("  count", "destination", "program", "code", "why")
_MAX_CELL = 500
_MAX_WIDTH = 60  # characters up to which the cells of a column are padded
_MAX_LISTED = 2  # tests, and reasons, that a row shows
# Besides the probes' own losses (lost_*), the counts that make a run incomplete in
# runs/conclude.py.
_DOUBTS = frozenset({"unreadable", "unread", "left_out", "dns_broken", "dns_left_out"})
_NO_DOUBTS = {
    "dns_malformed": "unreadable DNS messages",
    "dns_unread": "DNS messages not read",
    "names_dropped": "names forgotten",
    "missed_stack": "modules unknown",
    "missed_frames": "Python stacks unknown",
    "missed_code": "functions without a name",
    "missed_mapping": "mappings not told of",
}
_WORDS = (("allowed", "allowed"), ("local", "local"), ("violation", "in violation"))


class Summary:
    """The summary for people."""

    def __init__(self, *, quiet: bool) -> None:
        """`quiet`: say nothing unless something is wrong."""
        self._quiet = quiet

    def tell(self, outcome: Outcome) -> None:
        """Print the summary on standard error, if it is wanted."""
        grave = outcome.end.verdict != "clean" or outcome.evidence_failure is not None
        if (grave and not outcome.exec_errno) or not self._quiet:
            print_summary(outcome)


def print_summary(outcome: Outcome, *, stream: TextIO | None = None) -> None:
    """Print the summary to `stream` (default: standard error).

    It is plain text unless `stream` is a terminal.
    """
    console = _console(stream)
    console.print(_headline(outcome))
    _print_violations(outcome, console)
    for line in _details(outcome):
        console.print(Text("  " + printable(line, 2000)))


def print_lesson(outcome: Outcome, output: str, stream: TextIO | None = None) -> None:
    """Print what a learning run saw, and that its policy is in `output`."""
    console = _console(stream)
    seen = outcome.tally.seen_connections.total()
    queries = outcome.tally.seen_queries.total()
    console.print(
        Text("egressmon: ")
        .append("learned", style="bold")
        .append(f" from {_plural(seen, 'connection')}, ")
        .append(_plural(queries, "DNS look-up"))
    )
    lines = [f"policy, for review: {output}"]
    for line in [*lines, *_doubts(outcome), *_evidence(outcome)]:
        console.print(Text("  " + printable(line, 2000)))


def _console(stream: TextIO | None) -> Console:
    stream = guarded(stream or sys.stderr)
    terminal = stream.isatty()
    return Console(
        file=stream, highlight=False, emoji=False, markup=False, soft_wrap=not terminal
    )


def _headline(outcome: Outcome) -> Text:
    text = Text("egressmon: ")
    if why := not_run(outcome):
        return text.append(printable(why, 2000), style="bold yellow")
    verdict = outcome.end.verdict
    return text.append(verdict, style=_STYLES[verdict]).append(f" ({counts(outcome)})")


def not_run(outcome: Outcome) -> str:
    """Return why the command was not run; "" if it was."""
    if not outcome.exec_errno:
        return ""
    command = outcome.command or "the command"
    if outcome.exec_errno == errno.ENOENT:
        return f"not run: {command} was not found"
    return f"not run: {command}: {os.strerror(outcome.exec_errno)}"


def counts(outcome: Outcome) -> str:
    """Return how much was seen, in one line, and how much of it the evidence lacks."""
    end, tally = outcome.end, outcome.tally
    processes = _plural(tally.seen_processes, "process", "processes")
    return "; ".join(
        (
            _counted(tally.seen_connections, end.connections, "connection"),
            _counted(tally.seen_queries, end.queries, "DNS look-up"),
            processes + _missing(tally.seen_processes - end.processes),
        )
    )


def _counted(seen: Counter[str], kept: dict[str, int], what: str) -> str:
    parts = [f"{seen[word]} {plural}" for word, plural in _WORDS if seen[word]]
    inside = f": {', '.join(parts)}" if parts else ""
    missing = _missing(seen.total() - sum(kept.values()))
    return _plural(seen.total(), what) + inside + missing


def _missing(count: int) -> str:
    return f" ({count} of them not in the file)" if count > 0 else ""


def _plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def rows(outcome: Outcome) -> list[tuple[int, GroupKey]]:
    """Return the violations as (count, key), the largest count first.

    There is one row for each destination and program; their code and reasons are
    merged.
    """
    groups: dict[tuple[str, str], list[tuple[GroupKey, int]]] = {}
    for key, count in outcome.tally.violations.most_common():
        groups.setdefault(key[:2], []).append((key, count))
    merged: Counter[GroupKey] = Counter()
    for (destination, program), members in groups.items():
        codes = _listed(key[2] for key, _ in members)
        whys = _listed(key[3] for key, _ in members)
        total = sum(count for _, count in members)
        merged[destination, program, codes, whys] = total
    return [(count, key) for key, count in merged.most_common()]


def _listed(texts: Iterable[str]) -> str:
    once = list(dict.fromkeys(text for text in texts if text))
    shown = ", ".join(once[:_MAX_LISTED])
    rest = len(once) - _MAX_LISTED
    return f"{shown} (and {rest} more)" if rest > 0 else shown


def _print_violations(outcome: Outcome, console: Console) -> None:
    found = rows(outcome)
    if not found:
        return
    shown = [
        [f"  {count}", *(printable(text, _MAX_CELL) for text in key)]
        for count, key in found[:_MAX_ROWS]
    ]
    if len(found) > _MAX_ROWS:
        rest = len(found) - _MAX_ROWS
        shown.append(["  …", f"{rest} more rows, all in the evidence"])
    if console.is_terminal:
        console.print(_table(shown))
        return
    for line in _lines([list(_COLUMNS), *shown]):
        console.print(Text(line))


# Without a terminal each row is one line, so that a test's name is never wrapped.
def _lines(shown: list[list[str]]) -> Iterator[str]:
    full = [row for row in shown if len(row) == len(_COLUMNS)]
    widths = [
        min(max(map(len, column)), _MAX_WIDTH) for column in zip(*full, strict=True)
    ]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        yield "  ".join(cells).rstrip()


def _table(shown: list[list[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for column in _COLUMNS:
        table.add_column(column, overflow="fold", justify="left")
    for count, destination, *rest in shown:
        table.add_row(Text(count), Text(destination, style="red"), *map(Text, rest))
    return table


def _details(outcome: Outcome) -> list[str]:
    lines = [*outcome.notes, *_doubts(outcome), *_evidence(outcome)]
    policy = [f"policy: {outcome.policy or 'none found'} ({outcome.enforce})"]
    if outcome.policy is None:
        policy.append("to get a policy for review: egressmon learn -- COMMAND")
    return [*lines[:-1], *policy, lines[-1]]


# What may be missing or needs a look, a line each.
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
    where = (
        f"evidence: {outcome.evidence_path} "
        f"({_plural(outcome.evidence_records, 'record')}, head {outcome.evidence_head})"
    )
    if outcome.evidence_failure is not None:
        where = f"evidence NOT written: {outcome.evidence_path}: "
        where += outcome.evidence_failure
    return [
        f"{losses_line(end.losses)}; canaries seen: "
        f"{end.canaries['seen']} of {end.canaries['sent']}; blind spots: "
        + (", ".join(outcome.blind_spots) or "none"),
        where,
    ]


def losses_line(losses: dict[str, int]) -> str:
    """Return what was lost, in one line.

    The losses that make a run incomplete are one number; the others are named.
    """
    lost = sum(count for name, count in losses.items() if _casts_doubt(name))
    parts = [f"{_plural(lost, 'event')} lost or unreadable"]
    parts += [
        f"{count} {_NO_DOUBTS.get(name, name)}"
        for name, count in losses.items()
        if count and not _casts_doubt(name)
    ]
    return "; ".join(parts)


def _casts_doubt(name: str) -> bool:
    return name.startswith("lost_") or name in _DOUBTS
