"""What summaries are printed on: a terminal of some width, or a log."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from egressmon.reports.proposing.proposal import Proposal, texts
from egressmon.reports.runs.rows import Row
from egressmon.reports.writing.explaining import safe
from egressmon.reports.writing.layout import hanging, side_by_side
from egressmon.reports.writing.toml_text import toml_lines
from egressmon.text import guarded
from egressmon.values import replace

_STACKED_BELOW = 80
_MIN_WIDTH = 20
_MAX_CELL = 500
_MAX_LINE = 2000
_MAX_TOML = 100_000


class Paper:
    """Prints escaped text: folded to a terminal's width; elsewhere a fact is a line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Print to `stream`; None: standard error."""
        stream = guarded(stream or sys.stderr)
        self._console = Console(
            file=stream,
            color_system=None if os.environ.get("NO_COLOR") else "auto",
            highlight=False,
            emoji=False,
            markup=False,
            soft_wrap=True,  # the lines are folded here
        )
        self._width = max(_MIN_WIDTH, self._console.width) if stream.isatty() else None

    def headline(self, verdict: str, style: str, rest: str) -> None:
        """Print the first line: `verdict` in `style`, and `rest`.

        On a terminal, an empty line comes before: the cursor may stand behind `^C`, or
        behind output that ends without a newline.
        """
        if self._width is not None:
            self._console.print()
        before, verdict = "egressmon: ", safe(verdict, _MAX_LINE)
        first, *more = self._folded(f"{before}{verdict}{rest}", 0)
        text = Text(first)
        text.stylize(style, len(before), len(before) + len(verdict))
        self._console.print(text)
        for line in more:
            self._console.print(Text(line))

    def fact(self, text: str) -> None:
        """Print `text` below the headline."""
        for line in self._folded(safe(text, _MAX_LINE), 2):
            self._console.print(Text(line))

    def rows(self, found: Iterable[Row]) -> None:
        """Print each row: in a log as a line, on a terminal in columns or stacked."""
        shown = [_escaped(row) for row in found]
        width = self._width
        if width is None:
            for row in shown:
                self._console.print(Text(f"  {row.what} {_rest(row)}"))
            return
        start = _start(shown, width)
        for row in shown:
            self._row(row, width, start)

    def _row(self, row: Row, width: int, start: int) -> None:
        left = f"  {row.what}"
        if start and cell_len(left) < start:
            first, *more = side_by_side(left, _rest(row), start, width)
            text = Text(first)
            text.stylize("red", 0, len(left))
            self._console.print(text)
            lines: Iterator[str] = iter(more)
        else:
            for line in hanging(row.what, width, 2, 3):
                self._console.print(Text(line, style="red"))
            lines = _stacked(row, width)
        for line in lines:
            self._console.print(Text(line))

    def proposal(self, proposal: Proposal) -> None:
        """Print what to add to the policy, so that it can be pasted."""
        width = None if self._width is None else self._width - 4
        for heading, tables in texts(proposal):
            self.fact(heading)
            for table in tables:
                for line in toml_lines(table, width):
                    self._console.print(Text(f"    {safe(line, _MAX_TOML)}"))

    def _folded(self, text: str, indent: int) -> Iterator[str]:
        if self._width is None:
            return iter([" " * indent + text])
        return hanging(text, self._width, indent)


def _escaped(row: Row) -> Row:
    return replace(
        row,
        destination=safe(row.destination, _MAX_CELL),
        program=safe(row.program, _MAX_CELL),
        via=safe(row.via, _MAX_CELL),
        code=safe(row.code, _MAX_CELL),
        why=safe(row.why, _MAX_CELL),
    )


def _rest(row: Row) -> str:
    return " ".join(filter(None, (row.who, row.where))) + f": {row.why}"


# Where the right column begins; 0 if there is no room for two columns.
def _start(found: list[Row], width: int) -> int:
    if width < _STACKED_BELOW:
        return 0
    lengths = [cell_len(row.what) + 4 for row in found]
    return max((one for one in lengths if one <= width // 2), default=0)


def _stacked(row: Row, width: int) -> Iterator[str]:
    for part in (row.who, row.where, row.why):
        if part:
            yield from hanging(part, width, 5)
