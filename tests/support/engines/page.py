"""Write docs/containers.md from what the tests of the engines reported.

page.py REPORT PAGE: REPORT has a line of JSON for each row (told.py).
"""

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from support.engines import making

_ABOUT = """\
# Containers

Written by `scripts/test-engines --write`: what `egressmon sidecar --all` told of the
containers of real engines, a test for each row. The engines are those of Debian
{suite}, in a room of their own beside the machine (tests/support/engines).

* **seen**: connections that are in the evidence with the right destination and the
  container's own program, of all that were made. Most programs there connect at once,
  and end.
* **known**: those of them that say which container it was, and **as** what, by the path
  of its cgroup; **confirmed**: those whose engine told its name and image, too.
* **origin**: whose connections they are, as the records say.
* **name**: whether the destination has the name that its program had looked up, by the
  engine's resolver; `-` where the program went to an address. The sidecar has the
  engines' root folder and network, as on a machine that they are of.

"""
_SEEN = re.compile(r"(\d+) of (\d+)")


@dataclass(frozen=True)
class Row:
    """How the containers of an engine were seen.

    `of` connections were made, `seen` of them were seen, of those `known` with the
    container, and of those `confirmed` by its engine. `name` is whether a name was
    found, "" if none was asked for.
    """

    engine: str
    how: str
    of: int
    seen: int = 0
    known: int = 0
    confirmed: int = 0
    told_as: str = ""
    name: str = ""
    cgroup: str = ""
    origin: str = ""
    notes: str = ""
    version: str = ""


@dataclass(frozen=True)
class Page:
    """What is in docs/containers.md: where and when, and its rows."""

    kernel: str
    date: str
    commit: str
    rows: tuple[Row, ...]


_COLUMNS = (
    *("engine", "version", "how started", "seen", "known", "as", "confirmed", "name"),
    *("cgroup", "origin", "notes"),
)


def text(page: Page) -> str:
    """Return the text of the page."""
    lines = [list(_COLUMNS), ["---"] * len(_COLUMNS), *map(_cells, page.rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    about = _ABOUT.format(suite=making.SUITE)
    return f"{about}{table}\nLinux {page.kernel}, {page.date}, commit {page.commit}.\n"


def _cells(row: Row) -> list[str]:
    cgroup = f"`{row.cgroup}`" if row.cgroup else "-"
    seen = [f"{row.seen} of {row.of}", f"{row.known} of {row.seen}"]
    who = [row.told_as or "-", f"{row.confirmed} of {row.known}"]
    more = [row.name or "-", cgroup, row.origin or "-", row.notes or "-"]
    return [row.engine, row.version, row.how, *seen, *who, *more]


def read(text: str) -> Page:
    """Return what a page says; raises ValueError if it is none."""
    lines = text.splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    if table[:2] != [list(_COLUMNS), ["---"] * len(_COLUMNS)]:
        raise ValueError("its table has other columns")
    found = re.fullmatch(r"Linux (\S+), (\S+), commit (\S+)\.", lines[-1])
    if found is None:
        raise ValueError("its last line does not say where and when")
    return Page(found[1], found[2], found[3], tuple(map(_row, table[2:])))


def _row(cells: list[str]) -> Row:
    engine, version, how, seen, known, told_as, confirmed, *more = cells
    (one, of), (certain, _), (sure, _) = map(_numbers, (seen, known, confirmed))
    told_as, name, cgroup, origin, notes = (
        "" if cell == "-" else cell for cell in (told_as, *more)
    )
    return Row(
        *(engine, how, of, one, certain, sure),
        told_as=told_as,
        name=name,
        cgroup=cgroup.strip("`"),
        origin=origin,
        notes=notes,
        version=version,
    )


def _numbers(cell: str) -> tuple[int, int]:
    found = _SEEN.fullmatch(cell)
    if found is None:
        raise ValueError(f"not a count: {cell}")
    return int(found[1]), int(found[2])


def rows(lines: Iterable[str], versions: dict[str, str]) -> tuple[Row, ...]:
    """Return the rows of a report, by engine; the last one of each counts."""
    known = {one.name for one in fields(Row)}
    made: dict[tuple[str, str], Row] = {}
    for line in lines:
        found = {
            name: value for name, value in json.loads(line).items() if name in known
        }
        row = Row(**found)
        made[row.engine, row.how] = replace(row, version=versions[row.engine])
    return tuple(
        sorted(made.values(), key=lambda one: making.ENGINES.index(one.engine))
    )


def main() -> None:
    """Run the command line."""
    report, target = map(Path, sys.argv[1:3])
    versions = making.versions(making.root(making.cache()))
    words = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    made = rows(report.read_text().splitlines(), versions)
    date = str(datetime.now(UTC).date())
    page = Page(platform.release(), date, commit.strip() or "unknown", made)
    target.write_text(text(page))


if __name__ == "__main__":
    main()
