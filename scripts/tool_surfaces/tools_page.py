"""The table of docs/surfaces-examples.md: a row for each tool that was run."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs import PROGRAMS, Program

_BEGIN, _END = "<!-- runs: made by scripts/make-surface-examples -->", "<!-- /runs -->"
_HEAD = (
    "| tool | run for | reaches | inventory, policy | version, run on |",
    "|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Done:
    """A run that was made."""

    name: str
    version: str
    day: str


def update(page: Path, done: Done, program: Program, to: Path) -> None:
    """Put the row of `done` into `page`, in place of an earlier one."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    table, _, after = rest.partition(_END)
    rows = {row.split("`")[1]: row for row in table.splitlines() if "`" in row}
    policy = tomllib.loads((to / f"{done.name}.toml").read_text(encoding="utf-8"))
    rows[done.name] = row_of(done, program, policy)
    known = [rows[name] for name in PROGRAMS if name in rows]
    lines = "\n".join(("", *_HEAD, *known, ""))
    page.write_text(f"{before}{_BEGIN}{lines}{_END}{after}", encoding="utf-8")


def row_of(done: Done, program: Program, policy: dict[str, Any]) -> str:
    """Return the row of a run from which `policy` was learned."""
    places = ", ".join(f"`{one}`" for one in destinations(policy)) or "nothing"
    at = f"examples/surfaces/{done.name}"
    links = f"[inventory]({at}.md), [policy]({at}.toml)"
    cells = (
        f"`{done.name}`", program.what, places, links, f"{done.version}, {done.day}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def destinations(policy: dict[str, Any]) -> list[str]:
    """Return what the entries of `policy` allow: names, addresses and networks."""
    return sorted(set(_destinations(policy.get("allow", []))))


def _destinations(entries: Iterable[dict[str, Any]]) -> Iterable[str]:
    for entry in entries:
        for key in ("host", "cidr"):
            if key in entry:
                yield str(entry[key])
