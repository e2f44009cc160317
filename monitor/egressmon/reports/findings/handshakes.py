"""What `egressmon tls` found: as text, JSON, Markdown, or annotations for GitHub.

All that a certificate says is escaped here.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TextIO, cast

from egressmon.reports.writing.json_text import json_text
from egressmon.reports.writing.wording import plural
from egressmon.reports.writing.workflow import (
    MAX_ANNOTATIONS,
    Annotation,
    cell,
    write_annotations,
)
from egressmon.text import escape, printable
from egressmon.tls.certificates import Certificate
from egressmon.tls.findings import Finding
from egressmon.tls.record import VERSION, Record, as_json
from egressmon.tls.staples import Staple
from egressmon.tls.targets import Unchecked
from egressmon.values import dataclass

FORMATS = ("table", "json", "markdown", "github")
_LONGEST = 1000
_MAX_NAMES = 5


@dataclass(frozen=True, slots=True)
class Judged:
    """A host's record, and what is wrong with it."""

    record: Record
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Handshakes:
    """All that is reported."""

    judged: tuple[Judged, ...]
    unchecked: tuple[Unchecked, ...]
    """Of a policy: what names no host to connect to."""
    store: str
    """Where the trusted certificates are."""
    at: datetime

    @property
    def unknown(self) -> int:
        """Of how many hosts nothing is known."""
        return sum(one.record.unknown is not None for one in self.judged)

    @property
    def status(self) -> int:
        """The exit status: 2 if something is not known, 1 if something is wrong."""
        if self.unknown or not self.judged:
            return 2
        return int(any(one.findings for one in self.judged))


def write(form: str, found: Handshakes, stream: TextIO, bare: TextIO) -> None:
    """Write what was `found` in this `form`, one of FORMATS, to `stream`.

    CI commands of others are broken in what is written to `stream`, and not in `bare`:
    only our own, escaped, go there.
    """
    match form:
        case "json":
            stream.write(_json(found))
        case "markdown":
            stream.writelines(f"{line}\n" for line in _markdown(found))
        case "github":
            stream.writelines(f"{line}\n" for line in _table(found))
            stream.flush()
            write_annotations(_annotations(found), bare)
        case _:
            stream.writelines(f"{line}\n" for line in _table(found))


def _table(found: Handshakes) -> Iterator[str]:
    for one in found.judged:
        yield from _host(one)
    for entry in found.unchecked:
        yield f"{_text(entry.entry)}: not checked: {_text(entry.reason)}"
    yield _totals(found)


def _host(one: Judged) -> Iterator[str]:
    record = one.record
    if record.unknown is not None:
        yield f"{record.target.text}: not known: {_text(record.unknown)}"
        return
    yield f"{record.target.text} ({record.address})"
    for label, text in _rows(record):
        yield f"    {label:<9} {text}"
    for finding in one.findings:
        yield f"    {'finding':<9} {finding.kind}: {_text(finding.text)}"


def _rows(record: Record) -> Iterator[tuple[str, str]]:
    yield "protocol", _text(", ".join(_spoken(record)))
    leaf = record.chain[0]
    yield "names", _text(_names(leaf))
    yield "issuers", _text(" < ".join(record.issuers))
    yield "validity", f"{_day(leaf.not_before)} to {_day(leaf.not_after)}"
    yield "key", _text(leaf.key or "not known")
    yield "staple", _text(_stapled(record.staple))
    for failed in record.failed:
        yield "before", _text(failed)


def _spoken(record: Record) -> Iterator[str]:
    for part in (record.protocol, record.cipher, record.group):
        yield part or "not known"
    yield record.alpn or "no ALPN"


def _names(leaf: Certificate) -> str:
    if not leaf.names:
        return "none"
    more = len(leaf.names) - _MAX_NAMES
    shown = ", ".join(name[:100] for name in leaf.names[:_MAX_NAMES])
    return shown + (f" and {more} more" if more > 0 else "")


def _day(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d") if moment else "not known"


def _stapled(staple: Staple | None) -> str:
    if staple is None:
        return "none"
    if staple.problem:
        return f"not readable: {staple.problem}"
    until = f", until {_day(staple.next_update)}" if staple.next_update else ""
    return f"{staple.status}{until}"


def _totals(found: Handshakes) -> str:
    count = sum(len(one.findings) for one in found.judged)
    parts = [plural(len(found.judged), "host"), plural(count, "finding")]
    if found.unknown:
        parts.append(f"{found.unknown} not known")
    if found.unchecked:
        entries = plural(len(found.unchecked), "entry", "entries")
        parts.append(f"{entries} of the policy not checked")
    return f"{', '.join(parts)}; trusted: {_text(found.store)}"


def _text(value: object) -> str:
    return printable(value, _LONGEST)


def _markdown(found: Handshakes) -> Iterator[str]:
    yield "| host | protocol | issuer | ends | findings |"
    yield "| --- | --- | --- | --- | --- |"
    for one in found.judged:
        record = one.record
        if record.unknown is not None:
            why = cell(f"not known: {record.unknown}")
            yield f"| {cell(record.target.text)} | | | | {why} |"
            continue
        leaf = record.chain[0]
        wrong = "<br>".join(cell(f"{each.kind}: {each.text}") for each in one.findings)
        yield (
            f"| {cell(record.target.text)} | {cell(record.protocol or 'not known')} | "
            f"{cell(leaf.issuer)} | {_day(leaf.not_after)} | {wrong or 'none'} |"
        )
    yield ""
    for entry in found.unchecked:
        yield f"* not checked: {cell(f'{entry.entry}: {entry.reason}')}"
    yield f"{cell(_totals(found))}"


def _annotations(found: Handshakes) -> list[Annotation]:
    told = list(_told(found))
    if len(told) <= MAX_ANNOTATIONS:
        return told
    text = f"{len(told) - MAX_ANNOTATIONS + 1} more are in the log of the step alone"
    more = Annotation("warning", "TLS, not all shown", text)
    return [*told[: MAX_ANNOTATIONS - 1], more]


def _told(found: Handshakes) -> Iterator[Annotation]:
    for one in found.judged:
        where = one.record.target.text
        if one.record.unknown is not None:
            text = f"{where}: {one.record.unknown}"
            yield Annotation("warning", "TLS not known", text)
        for finding in one.findings:
            text = f"{where}: {finding.kind}: {finding.text}"
            yield Annotation("warning", "TLS", text)


def _json(found: Handshakes) -> str:
    value = {
        "version": VERSION,
        "time": found.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "trusted": found.store,
        "complete": not found.unknown,
        "hosts": [
            as_json(one.record)
            | {"findings": [finding._asdict() for finding in one.findings]}
            for one in found.judged
        ],
        "not_checked": [one._asdict() for one in found.unchecked],
    }
    return json_text(_escaped(value), indent=1) + "\n"


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, list):
        return [_escaped(one) for one in cast("list[object]", value)]
    if isinstance(value, dict):
        found = cast("dict[str, object]", value)
        return {name: _escaped(one) for name, one in found.items()}
    return value
