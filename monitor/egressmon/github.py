"""GitHub Actions: annotations for violations, and the job's summary page.

Workflow commands: docs.github.com, "Workflow commands for GitHub Actions"; the
runner reads them from standard error as well.
"""

from typing import TextIO

from egressmon.outcome import Outcome
from egressmon.summary import counts
from egressmon.text import printable

_MAX_ANNOTATIONS = 10  # a step shows no more of each level
_MAX_ROWS = 100


def print_annotations(outcome: Outcome, stream: TextIO) -> None:
    """Print one annotation for each group of violations, or for missing evidence."""
    level = "error" if outcome.enforce == "fail" else "warning"
    groups = outcome.tally.violations.most_common(_MAX_ANNOTATIONS)
    for (destination, process, code, reason), count in groups:
        who = f"{process}, {code}," if code else process
        did = "" if destination.startswith("accepted from") else "reached "
        text = f"{who} {did}{destination} ({count}x): {reason}"
        stream.write(f"::{level} title=Egress violation::{_escape(text)}\n")
    for reason in outcome.end.incomplete_reasons[:_MAX_ANNOTATIONS]:
        stream.write(f"::warning title=Egress evidence incomplete::{_escape(reason)}\n")


# A workflow command ends at a newline; % begins an escape.
def _escape(text: str) -> str:
    return printable(text, 1000).replace("%", "%25")


def job_summary(outcome: Outcome) -> str:
    """Return the outcome as Markdown."""
    lines = [f"### egressmon: {outcome.end.verdict}", "", counts(outcome), ""]
    groups = outcome.tally.violations.most_common(_MAX_ROWS)
    if groups:
        lines += ["| count | destination | process | code | why |"]
        lines += ["|--:|---|---|---|---|"]
        lines += [
            f"| {count} | {' | '.join(map(_cell, group))} |" for group, count in groups
        ]
        lines.append("")
    lines += [f"- incomplete: {_cell(why)}" for why in outcome.end.incomplete_reasons]
    return "\n".join([*lines, ""])


# Inside a code span nothing is markup; the span's own fence must not end it.
def _cell(text: str) -> str:
    if not text:
        return ""
    safe = printable(text, 300).replace("`", "'").replace("|", "¦").replace("\\", "/")
    return f"`{safe}`"
