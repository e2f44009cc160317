"""GitHub Actions: annotations for violations, and the job's summary page.

The format is that of docs.github.com, "Workflow commands for GitHub Actions". The
runner reads such commands from standard error as well as from standard output.
"""

import os
import posixpath
import sys
from collections.abc import Iterator
from typing import TextIO

from egressmon.evidence.records.code import CodeRecord
from egressmon.reports.proposing.proposal import Proposal, texts
from egressmon.reports.runs.outcome import Outcome
from egressmon.reports.runs.rows import Row, rows
from egressmon.reports.runs.summary import counts, not_run
from egressmon.reports.writing.page import Page
from egressmon.reports.writing.toml_text import toml_lines
from egressmon.reports.writing.workflow import (
    Annotation,
    cell,
    property_of,
    write_annotations,
)
from egressmon.text import unguarded

_MAX_ROWS = 100
_ELSEWHERE = ("/site-packages/", "/dist-packages/", "…")  # installed, or cut


class Annotations:
    """Annotations that GitHub shows beside the code that they are about."""

    def __init__(self, workspace: bytes | None) -> None:
        """`workspace` is the folder of the repository, or None if it is not known."""
        self._workspace = workspace

    def tell(self, outcome: Outcome) -> None:
        """Print the annotations on standard error.

        They go past the guard that escapes control characters there: each text is
        escaped here, as workflow commands ask for.
        """
        print_annotations(outcome, unguarded(sys.stderr), self._workspace)


class JobSummary:
    """The job's summary page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def tell(self, outcome: Outcome) -> None:
        """Write the page, if it is still the file that was there before the run."""
        self._page.write(job_summary(outcome))
        self._page.close()


def print_annotations(
    outcome: Outcome, stream: TextIO, workspace: bytes | None = None
) -> None:
    """Print one annotation for each group of violations, and for each missing part.

    One about code in the folder `workspace` (default: the working directory) names
    its file and line.
    """
    folder = os.fsdecode(workspace) if workspace else os.curdir
    found = [*_violations(outcome, posixpath.abspath(folder)), *_missing(outcome)]
    write_annotations(found, stream)


def _violations(outcome: Outcome, workspace: str) -> Iterator[Annotation]:
    level = "error" if outcome.enforce == "fail" else "warning"
    for group, count in outcome.tally.violations.most_common():
        via = f" ({group.via})" if group.via else ""
        code = f" in {group.code}" if group.code else ""
        text = f"{count}x {group.destination} by {group.program}{via}{code}"
        text += f": {group.why}"
        place = _place(outcome.tally.places.get(group), workspace)
        yield Annotation(level, "Egress violation", text, place)


def _missing(outcome: Outcome) -> Iterator[Annotation]:
    for reason in outcome.end.incomplete_reasons:
        yield Annotation("warning", "Egress evidence incomplete", reason)


# The innermost frame inside the workspace, or the test's file. Only names are compared:
# a process can claim any path, so no file is looked up.
def _place(code: CodeRecord | None, workspace: str) -> str:
    if code is None:
        return ""
    for path, line in _frames(code):
        if file := _inside(path, workspace):
            return f",file={property_of(file)}" + (f",line={line}" if line else "")
    file = _inside((code.test or "").partition("::")[0], workspace)
    return f",file={property_of(file)}" if file else ""


# Who called, then who created the task, then who started the process: so a program that
# a test runs stands beside the line that ran it.
def _frames(code: CodeRecord) -> Iterator[tuple[str, int | None]]:
    if code.file is not None:
        yield code.file, code.line
    for stack in code.stacks:
        for _, file, line in stack.frames:
            if file is not None:
                yield stack.names[file], line


def _inside(file: str, workspace: str) -> str | None:
    if not file.endswith(".py") or any(part in file for part in _ELSEWHERE):
        return None
    path = posixpath.normpath(posixpath.join(workspace, file))
    inside = path.startswith(f"{workspace}/")
    return path.removeprefix(f"{workspace}/") if inside else None


def job_summary(outcome: Outcome) -> str:
    """Return the outcome as Markdown."""
    headline = cell(not_run(outcome)) or outcome.end.verdict
    lines = [f"### egressmon: {headline}", "", counts(outcome), ""]
    lines += _table(rows(outcome))
    if outcome.proposal is not None:
        lines += _proposed(outcome.proposal)
    lines += [f"- incomplete: {cell(why)}" for why in outcome.end.incomplete_reasons]
    return "\n".join([*lines, ""])


def _table(found: list[Row]) -> Iterator[str]:
    if not found:
        return
    yield "| count | destination | program | code | why |"
    yield "|--:|---|---|---|---|"
    for row in found[:_MAX_ROWS]:
        program = row.who.removeprefix("by ")
        cells = (row.target, program, row.code, row.why)
        yield f"| {row.count} | {' | '.join(map(cell, cells))} |"
    if len(found) > _MAX_ROWS:
        yield f"| | {len(found) - _MAX_ROWS} more rows in the evidence | | | |"
    yield ""


def _proposed(proposal: Proposal) -> Iterator[str]:
    for heading, tables in texts(proposal):
        yield from (cell(heading), "")
        if tables:
            yield "```toml"
            for table in tables:
                yield from toml_lines(table)
            yield from ("```", "")
