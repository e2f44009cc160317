"""What `egressmon inspect` found: as a table, as JSON, or as a contract of imports."""

import json
from collections.abc import Iterable
from typing import TextIO

from egressmon.inspection.findings import Finding, Unread
from egressmon.inspection.inspection import Result
from egressmon.reports.writing.wording import plural
from egressmon.sanitise.paths import shown_path
from egressmon.text import escape, printable
from egressmon.values import dataclass

FORMATS = ("table", "json", "import-linter")
_LONGEST_PATH = 4096
_LONGEST_REASON = 1000
_COLUMNS = ("PACKAGE", "VERSION", "FROM", "OPENS", "FILE")
_WIDEST = (40, 24, 8, 5)


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding, and what the policy says of it."""

    finding: Finding
    allowed: str | None
    """The reason of the entry that covers it."""

    @property
    def name(self) -> str:
        """The package's name, untrusted; or that there is none."""
        return self.finding.package.name or "(no package)"


@dataclass(frozen=True, slots=True)
class Inspected:
    """All that is reported."""

    targets: tuple[str, ...]
    judged: tuple[Judged, ...]
    result: Result
    with_policy: bool

    @property
    def open(self) -> list[Judged]:
        """What no entry of the policy covers."""
        return [one for one in self.judged if one.allowed is None]


def write(form: str, found: Inspected, roots: list[str], stream: TextIO) -> None:
    """Write what was `found` to `stream`, in this `form`, one of FORMATS.

    `roots` are the packages that a contract of imports is for.
    """
    match form:
        case "json":
            stream.write(_json(found))
        case "import-linter":
            stream.write(contract(found, roots))
        case _:
            stream.writelines(f"{line}\n" for line in _table(found))


def _table(found: Inspected) -> Iterable[str]:
    rows = [_COLUMNS, *(_row(one) for one in found.judged)]
    widths = [
        min(most, max(len(row[at]) for row in rows)) for at, most in enumerate(_WIDEST)
    ]
    for index, row in enumerate(rows if found.judged else []):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join((*cells, row[-1])).rstrip()
        if not index:
            continue
        one = found.judged[index - 1]
        for text in _why(one, found):
            yield f"    {text}"
    for part in found.result.unread:
        yield f"not inspected: {_place(part)}{_text(part.reason)}"
    yield from _totals(found)


def _row(one: Judged) -> tuple[str, ...]:
    package = one.finding.package
    return (
        printable(one.name, _WIDEST[0]),
        printable(package.version or "-", _WIDEST[1]),
        package.manager,
        "yes" if one.finding.sure else "maybe",
        printable(shown_path(one.finding.path), _LONGEST_PATH),
    )


def _why(one: Judged, found: Inspected) -> Iterable[str]:
    for reason in one.finding.reasons:
        yield _text(reason.what) + ("" if reason.sure else " (a hint)")
    if one.finding.note:
        yield _text(one.finding.note)
    if found.with_policy:
        covered = one.allowed is not None
        yield f"allowed: {_text(one.allowed)}" if covered else "not in native.allow"


def _totals(found: Inspected) -> Iterable[str]:
    packages = {(one.finding.package.manager, one.name) for one in found.judged}
    files = plural(len(found.judged), "file")
    sure = sum(one.finding.sure for one in found.judged)
    yield (
        f"{files} of {plural(len(packages), 'package')} could open connections "
        f"({sure} for sure); native code: {found.result.native} of "
        f"{plural(found.result.looked_at, 'file')} looked at"
    )
    if found.with_policy:
        yield f"not in native.allow: {plural(len(found.open), 'file')}"
    if found.result.unread:
        parts = plural(len(found.result.unread), "place")
        yield f"not complete: {parts} could not be inspected"


def _place(part: Unread) -> str:
    return f"{printable(shown_path(part.path), _LONGEST_PATH)}: " if part.path else ""


def _text(value: object) -> str:
    return printable(value, _LONGEST_REASON)


def _json(found: Inspected) -> str:
    value = {
        "version": 1,
        "targets": [escape(shown_path(one)) for one in found.targets],
        "complete": not found.result.unread,
        "files": found.result.looked_at,
        "native": found.result.native,
        "findings": [_finding(one, found) for one in found.judged],
        "not_inspected": [
            {"path": escape(shown_path(one.path)), "reason": escape(one.reason)}
            for one in found.result.unread
        ],
    }
    # CI systems look for commands in JSON, too; neither mark is part of JSON itself.
    text = json.dumps(value, indent=1)
    return text.replace("#", "\\u0023").replace("section_", "section\\u005f") + "\n"


def _finding(one: Judged, found: Inspected) -> dict[str, object]:
    finding = one.finding
    row: dict[str, object] = {
        "manager": finding.package.manager,
        "package": escape(finding.package.name) or None,
        "version": escape(finding.package.version or "") or None,
        "imports": list(finding.package.import_names),
        "file": escape(shown_path(finding.path)),
        "sure": finding.sure,
        "why": [
            {"kind": why.kind, "what": escape(why.what), "sure": why.sure}
            for why in finding.reasons
        ],
        "note": escape(finding.note) or None,
    }
    if found.with_policy:
        row["allowed"] = one.allowed is not None
    return row


def contract(found: Inspected, roots: list[str]) -> str:
    """Return a configuration of import-linter that forbids what is not allowed.

    Only identifiers are written, whatever a package says that it is called.
    """
    names = {
        name
        for one in found.open
        for name in one.finding.package.import_names
        if name not in roots and name.isidentifier() and name.isascii()
    }
    without = sorted(
        {one.name for one in found.open if not one.finding.package.import_names}
    )
    lines = [
        "# Written by `egressmon inspect`: native code that could open connections by",
        "# itself. A package below a shared name (google.…) forbids that name.",
        *(f"# Not imported by any name: {_comment(one)}" for one in without),
        *(
            f"# Not inspected: {_comment(f'{shown_path(one.path)}: {one.reason}')}"
            for one in found.result.unread
        ),
        "[tool.importlinter]",
        f"root_packages = {json.dumps(roots)}",
        "include_external_packages = true",
        "",
    ]
    if names:
        lines += [
            "[[tool.importlinter.contracts]]",
            'name = "No native code that opens connections by itself"',
            'type = "forbidden"',
            f"source_modules = {json.dumps(roots)}",
            "forbidden_modules = [",
            *(f'  "{name}",' for name in sorted(names)),
            "]",
        ]
    else:
        lines.append("# Nothing is to be forbidden.")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return printable(text, _LONGEST_REASON)
