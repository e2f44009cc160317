"""What servers have, beside what a baseline keeps of it: pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from egressmon.drift.findings import Change
from egressmon.drift.model import Content, TlsValue
from egressmon.errors import UsageError
from egressmon.tls.comparing import compare
from egressmon.tls.findings import Finding
from egressmon.tls.targets import parse_target

_KIND = "tls"
_ACCEPTED = frozenset({"invalid", "wrong-name"})
"""What a baseline with `valid = false` has accepted."""


class Shaken(NamedTuple):
    """What is known of a host after a handshake."""

    place: str
    """HOST:PORT."""
    table: Mapping[str, TlsValue] | None
    """As `tls.tables` makes it; None: nothing is known."""
    unknown: str
    """Why nothing is known."""
    findings: tuple[Finding, ...]


def tables_of(shaken: Iterable[Shaken]) -> dict[str, dict[str, TlsValue]]:
    """Return what goes to a baseline."""
    return {one.place: dict(one.table) for one in shaken if one.table is not None}


def tls_problems(shaken: Iterable[Shaken]) -> Iterator[str]:
    """Yield of which hosts nothing is known, and why."""
    for one in shaken:
        if one.table is None:
            yield f"{one.place}: no handshake: {one.unknown}"


def known_names(content: Content) -> Iterator[str]:
    """Yield the names that a wildcard may stand for: those that were met before."""
    for key in content.items:
        if key.kind == "destination" and key.name:
            yield key.name
    for place in content.tls:
        try:
            yield parse_target(place).host
        except UsageError:  # somebody edited it
            continue


def tls_changes(old: Content, shaken: Iterable[Shaken]) -> Iterator[Change]:
    """Yield how what the hosts have differs from what `old` keeps of them."""
    asked: set[str] = set()
    for one in shaken:
        asked.add(one.place)
        before = old.tls.get(one.place)
        if one.table is None:
            continue  # a problem, and no change
        if before is None:
            yield _new(one, one.table)
        else:
            yield from _differences(one.place, before, one)
        yield from _findings(one, before)
    for place in sorted(old.tls.keys() - asked):
        remark = "not asked: the policy does not name it"
        yield Change("gone", _KIND, place, remark=remark)


def _new(one: Shaken, table: Mapping[str, TlsValue]) -> Change:
    issuers = table.get("issuers")
    told = issuers if isinstance(issuers, tuple) else ()
    remark = "the baseline has nothing of its certificates"
    return Change("new", _KIND, one.place, (), told, remark=remark)


def _differences(
    place: str, before: Mapping[str, TlsValue], one: Shaken
) -> Iterator[Change]:
    has_reason = any(finding.kind in _ACCEPTED for finding in one.findings)
    for found in compare(before, one.table or {}):
        if found.what == "invalid" and found.counts == "drift" and has_reason:
            continue  # the findings say why
        yield Change(
            "changed",
            _KIND,
            f"{place} {found.what}",
            found.old,
            found.new,
            counts=found.counts,
        )


def _findings(one: Shaken, before: Mapping[str, TlsValue] | None) -> Iterator[Change]:
    reviewed = before is not None and before.get("valid") is False
    for finding in one.findings:
        yield Change(
            "changed",
            _KIND,
            f"{one.place} {finding.kind}",
            counts="note" if reviewed and finding.kind in _ACCEPTED else "drift",
            remark=finding.text,
        )
