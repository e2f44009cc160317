"""How a sidecar's run ended, for people: on a terminal, or in a CI system's log."""

import time
from collections.abc import Iterator
from typing import TextIO

from egressmon.evidence.anchoring import anchor_of
from egressmon.reports.writing.page import Page
from egressmon.reports.writing.wording import counted, plural
from egressmon.reports.writing.workflow import Annotation, cell, write_annotations
from egressmon.sidecar.stopped import Stopped, goes_on_from
from egressmon.text import guarded, printable, unguarded

_MAX_LINE = 2000
_MAX_ROWS = 50
_NOT_CONCLUDED = "the run was not concluded: it was stopped without its token"
_ERASE = "\x1b[0K"  # docs.gitlab.com, "Custom collapsible sections"


def print_plain(stopped: Stopped, stream: TextIO) -> None:
    """Print a line for the verdict, and one for each fact."""
    _print_lines(stopped, guarded(stream))


def print_gitlab(stopped: Stopped, stream: TextIO) -> None:
    """Print the same as a section, which GitLab can fold."""
    log, second = unguarded(stream), int(time.time())
    log.write(f"{_ERASE}section_start:{second}:egressmon\r{_ERASE}egressmon\n")
    _print_lines(stopped, guarded(stream))
    log.write(f"{_ERASE}section_end:{second}:egressmon\r{_ERASE}\n")
    log.flush()


def print_github(stopped: Stopped, stream: TextIO, page: Page | None) -> None:
    """Print the same, then annotations; and write the job's summary to `page`."""
    _print_lines(stopped, guarded(stream))
    # Past the guard: each text is escaped as workflow commands ask for.
    write_annotations([*_annotations(stopped)], unguarded(stream))
    if page is not None:
        page.write(markdown(stopped))


def markdown(stopped: Stopped) -> str:
    """Return how the run ended as Markdown."""
    lines = [f"### egressmon: {cell(stopped.verdict)}", "", cell(_counts(stopped)), ""]
    if stopped.violations:
        lines += ["| destination | process | why |", "|---|---|---|"]
    for one in stopped.violations[:_MAX_ROWS]:
        cells = (one.destination, one.process, one.reason)
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    if stopped.violations:
        lines.append("")
    lines += [f"- {cell(one)}" for one in _doubts(stopped)]
    if more := _more(stopped):
        lines.append(f"- {cell(more)}")
    lines += [f"- {cell(one)}" for one in (*_places(stopped), *_where(stopped))]
    return "\n".join([*lines, ""])


def _print_lines(stopped: Stopped, stream: TextIO) -> None:
    stream.write(f"egressmon: {printable(stopped.verdict)} ({_counts(stopped)})\n")
    for one in stopped.violations:
        text = f"{one.destination} by {one.process}: {one.reason}"
        stream.write(f"  violation {printable(text, _MAX_LINE)}\n")
    facts = [*_doubts(stopped), _more(stopped), *_places(stopped)]
    facts += [*_where(stopped), _anchor(stopped)]
    stream.writelines(f"  {printable(fact, _MAX_LINE)}\n" for fact in facts if fact)
    stream.flush()


def _annotations(stopped: Stopped) -> Iterator[Annotation]:
    level = "error" if stopped.exit_status == 120 else "warning"
    if not stopped.is_concluded:
        yield Annotation("error", "Egress evidence incomplete", _NOT_CONCLUDED)
    for one in stopped.violations:
        text = f"{one.destination} by {one.process}: {one.reason}"
        yield Annotation(level, "Egress violation", text)
    for reason in stopped.incomplete_reasons:
        yield Annotation("warning", "Egress evidence incomplete", reason)


def _counts(stopped: Stopped) -> str:
    parts = (
        _counted(stopped.connections, "connection"),
        _counted(stopped.queries, "DNS look-up"),
    )
    return "; ".join(parts)


def _counted(counts: dict[str, int], what: str) -> str:
    shown = ", ".join(
        f"{count} {printable(name, 40)}" for name, count in counts.items() if count
    )
    return plural(sum(counts.values()), what) + (f": {shown}" if shown else "")


def _doubts(stopped: Stopped) -> Iterator[str]:
    if not stopped.is_concluded:
        yield _NOT_CONCLUDED
    for reason in stopped.incomplete_reasons:
        yield f"incomplete: {reason}"


def _more(stopped: Stopped) -> str:
    counts = stopped.connections, stopped.queries
    total = sum(one.get("violation", 0) for one in counts)
    left = total - len(stopped.violations)
    return f"{plural(left, 'more violation')} in the evidence" if left > 0 else ""


def _places(stopped: Stopped) -> Iterator[str]:
    if stopped.origins:
        yield f"by origin: {counted(stopped.origins)}"
    if stopped.steps:
        yield f"by step (claimed): {counted(stopped.steps)}"


def _where(stopped: Stopped) -> Iterator[str]:
    yield f"run: {stopped.run}"
    if stopped.follows is not None:
        yield goes_on_from(stopped.follows)
    records = plural(stopped.records, "record")
    yield f"evidence: {stopped.evidence} ({records}, head {stopped.head})"


# In a log that the job cannot take back.
def _anchor(stopped: Stopped) -> str:
    if not stopped.records:
        return ""
    return anchor_of(stopped.run, stopped.records - 1, stopped.head)
