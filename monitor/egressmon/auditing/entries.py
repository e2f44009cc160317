"""What becomes of the policy's own entries: unused ones, and ones that are too wide."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from egressmon.auditing.findings import Finding
from egressmon.auditing.narrowing import Wider, maker, wider
from egressmon.auditing.questions import Answer
from egressmon.auditing.tables import comments, entry_lines, string, value
from egressmon.auditing.usage import Usage
from egressmon.policy.judging.index import HostIndex, NetworkIndex
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.pointers import Address, pointed_address
from egressmon.policy.judging.questions import Destination
from egressmon.policy.language.model import Allow, Policy
from egressmon.policy.language.names import covers
from egressmon.policy.reading.file import PROJECT, LoadedPolicy

_MAX_NAMES = 20
_HEADER = re.compile(r"\s*\[\[\s*([^\]#]+?)\s*\]\]\s*(?:#.*)?")


class EntriesUsed:
    """Counts what used each entry of a policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._usages = [Usage() for _ in policy.allow]
        self._names_used = [0] * len(policy.dns.names)
        self._names = HostIndex(enumerate(policy.dns.names))
        listed = policy.accept.sources
        self._sources = [] if isinstance(listed, str) else [*listed]
        self._sources_used = [0] * len(self._sources)
        self._networks = NetworkIndex(
            (place, ipaddress.ip_network(one))
            for place, one in enumerate(self._sources)
        )

    def connection(self, answer: Answer, judge: Judge) -> None:
        """Count a connection for the entries in `answer`: the first one is used."""
        target, origin = answer.target, answer.origin
        if target is None or origin is None:
            return
        if answer.verdict.word == "violation":
            self._refused(answer, target, judge)
            return
        for place, index in enumerate(map(_index, answer.entries)):
            if place:
                self._usages[index].besides += 1
            else:
                entry = self._policy.allow[index]
                self._usages[index].connect(entry, target, origin, judge.search)

    # By `by`, `bypass` or `guard.bypass`: what is denied is allowed to nobody.
    def _refused(self, answer: Answer, target: Destination, judge: Judge) -> None:
        is_denied = (answer.verdict.rule or "").startswith("deny")
        if answer.refusing and not is_denied:
            index = _index(answer.refusing[0])
            usage, entry = self._usages[index], self._policy.allow[index]
            usage.refuse(entry, target, judge.search)

    def look_up(self, rule: str | None, names: tuple[str, ...], judge: Judge) -> None:
        """Count a look-up by `rule`: of the first of `names`, an alias of the rest."""
        if rule is None:
            return
        if rule.startswith("allow["):
            usage = self._usages[_index(rule)]
            entry = self._policy.allow[_index(rule)]
            pointed = pointed_address(names[0])
            if entry.cidr is not None and pointed is not None:
                usage.point(str(pointed))
            else:
                usage.look_up(entry, names, judge.search)
            return
        patterns = self._policy.dns.names
        spelt = [*names, *(one for name in names for one in judge.search.shorter(name))]
        for name in spelt if rule == "dns.names" else ():
            for place in self._names.places(name):
                self._names_used[place] += covers(patterns[place], name)

    def accepted(self, peer: Address) -> None:
        """Count a peer that connected from another machine."""
        for place in self._networks.places(peer):
            self._sources_used[place] += 1

    def findings(self, loaded: LoadedPolicy) -> Iterator[Finding]:
        """Yield what there is to say of the entries, in their order."""
        header = "[[tool.egressmon.allow]]" if _is_project(loaded) else "[[allow]]"
        lines = lines_of_entries(loaded.text, header.strip("[]"))
        for place, usage in enumerate(self._usages):
            entry = self._policy.allow[place]
            line = lines[place] if len(lines) == len(self._usages) else None
            about: dict[str, Any] = {"entry": f"allow[{place}]", "line": line}
            yield from _of_entry(entry, usage, header, about)
        for place, name in enumerate(self._policy.dns.names):
            if not self._names_used[place]:
                yield _unused_item("dns.names", place, name)
        for place, source in enumerate(self._sources):
            if not self._sources_used[place]:
                yield _unused_item("accept.from", place, source)


def _is_project(loaded: LoadedPolicy) -> bool:
    return loaded.path is not None and loaded.path.name == PROJECT


def _index(rule: str) -> int:
    return int(rule.partition("[")[2].rstrip("]"))


def lines_of_entries(text: str, table: str) -> list[int]:
    """Return the lines (from 1) on which the headers of `table` stand in TOML."""
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if (found := _HEADER.fullmatch(line))
        and ".".join(part.strip(" \"'") for part in found[1].split(".")) == table
    ]


def _unused_item(key: str, place: int, shown: str) -> Finding:
    text = f"{shown}: nothing used it"
    lines = tuple(comments([f"without {string(shown)} in {key}"]))
    return Finding("unused", text, "remove", lines, f"{key}[{place}]")


def _of_entry(
    entry: Allow, usage: Usage, header: str, about: dict[str, Any]
) -> Iterator[Finding]:
    label = entry.host or entry.cidr or ""
    lines = tuple(entry_lines(entry, header))
    if usage.connections:
        yield from _of_used(entry, usage, header, about)
    elif usage.looked_up and not usage.refused:
        names = sorted(usage.looked_up)
        text = f"{label}: {_listed(names)} looked up, and nothing connected there"
        names = sorted(usage.names or usage.looked_up)[:_MAX_NAMES]
        keep = [*comments(["in its place, in [dns]:"]), f"names = {value(names)}"]
        yield Finding("looked-up", text, "replace", tuple(keep), **about)
    elif not usage.look_ups and not usage.refused:
        text = f"{label}: nothing used it"
        if usage.besides:
            text = f"{label}: earlier entries cover all that it would"
        yield Finding("unused", text, "remove", lines, **about)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" * (len(names) > 3))
    return f"{shown} {'was' if len(names) == 1 else 'were'}"


def _of_used(
    entry: Allow, usage: Usage, header: str, about: dict[str, Any]
) -> Iterator[Finding]:
    label = entry.host or entry.cidr or ""
    parts = [*wider(entry, usage)]
    narrow = _narrowed(entry, parts)
    if parts:
        text = f"{label}: {'; '.join(one.text for one in parts)}"
        lines = tuple(entry_lines(narrow, header))
        yield Finding("wide", text, "replace", lines, **about)
    if (part := maker(entry, usage)) is not None:
        lines = tuple(entry_lines(_narrowed(narrow, [part]), header))
        yield Finding("anyone", f"{label}: {part.text}", "replace", lines, **about)


def _narrowed(entry: Allow, parts: list[Wider]) -> Allow:
    changes = {one.key: one.value for one in parts if one.value is not None}
    dropped = {one.key for one in parts if one.value is None}
    made = entry.model_copy(update=changes)
    made.model_fields_set.difference_update(dropped)
    return made
