"""Compare destinations, look-ups and packages: what is new, gone, or done by others."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from egressmon.drift.findings import Change
from egressmon.drift.model import (
    UNKNOWN,
    Content,
    Item,
    Key,
    Seen,
    Surface,
    Texts,
    Values,
    Who,
)

_KINDS = {
    "packages": "package",
    "modules": "module",
    "programs": "program",
    "routes": "route",
    "bypass": "bypass",
    "guard": "guard",
    "kinds": "lookup",
}
"""The kind of change of each aspect; verdicts are told as violations."""
_WITH_WHO = ("packages", "modules", "programs")
_MAX_WHO = 5
_MAX_NAMED = 5


def reached_changes(old: Content, new: Surface) -> Iterator[Change]:
    """Yield how what was reached, and by whom, differs from what `old` has."""
    comparing = _Comparing(old, new)
    yield from comparing.violations()
    yield from comparing.items()
    yield from comparing.packages()
    yield from comparing.versions()


class _Comparing:
    def __init__(self, old: Content, new: Surface) -> None:
        self._old = old
        self._new = new
        self._last = len(new.runs) - 1
        self._common = old.versions.keys() & new.versions.keys()
        """The packages that connect in both."""

    def violations(self) -> Iterator[Change]:
        for key, item in self._new.items.items():
            seen = item.aspects.get("verdicts", {}).get("violation")
            if seen is None:
                continue
            before = self._old.items.get(key)
            remark = "not in the baseline"
            if before is not None:
                was = "violation" in before.get("verdicts", ())
                remark = "also in the baseline" if was else "no violation before"
            yield self._seen(Change("violation", "violation", _what(key)), item, remark)

        for listener, seen in self._new.intruded.items():
            since = self._new.since(seen)
            remark = "a peer connected that accept.from does not admit"
            change = Change("violation", "violation", listener, since=since)
            yield change._replace(who=_who([seen]), remark=remark)

    def items(self) -> Iterator[Change]:
        known = self._ways()
        for key, item in self._new.items.items():
            before = self._old.items.get(key)
            if before is not None:
                yield from self._aspects(key, before, item)
                yield from self._gone_later(key, item)
                continue
            ways = known[key.name] if key.kind == "destination" and key.name else []
            remark = f"the name is known at {_listed(ways)}" if ways else ""
            yield self._seen(Change("new", key.kind, _what(key)), item, remark)
        for key in self._old.items.keys() - self._new.items.keys():
            yield Change("gone", key.kind, _what(key))

    # Runs of other parts of a program may be given together: so it is but a note.
    def _gone_later(self, key: Key, item: Item) -> Iterator[Change]:
        if item.seen.last < self._last:
            since = self._new.runs[item.seen.last + 1]
            change = Change("gone", key.kind, _what(key), since=since, counts="note")
            yield change._replace(remark="seen in runs before that")

    # At which ports each name is known.
    def _ways(self) -> defaultdict[str, list[str]]:
        ways: defaultdict[str, list[str]] = defaultdict(list)
        for key in sorted(self._old.items):
            if key.kind == "destination":
                port = f"{key.port}/" if key.port >= 0 else ""
                ways[key.name].append(port + key.protocol)
        return ways

    def _aspects(
        self, key: Key, before: Mapping[str, Texts], item: Item
    ) -> Iterator[Change]:
        for aspect, kind in _KINDS.items():
            old, now = before.get(aspect, ()), item.aspects.get(aspect, {})
            if aspect == "packages":
                old = tuple(filter(self._is_told_here, old))
                now = {one: now[one] for one in filter(self._is_told_here, now)}
            change = self._differing(kind, _what(key), old, now)
            if change is not None:
                yield change

    # A package that is new or gone everywhere is told of once.
    def _is_told_here(self, package: str) -> bool:
        return ":" not in package or package in self._common

    def _differing(
        self, kind: str, what: str, old: Texts, now: Values
    ) -> Change | None:
        added, removed = sorted(now.keys() - {*old}), sorted({*old} - now.keys())
        if not added and not removed:
            return None
        change = Change("changed", kind, what, tuple(removed), tuple(added))
        if not added:
            change = change._replace(word="gone")
        if {*added, *removed} == {UNKNOWN}:
            change = change._replace(counts="note")
        if added:
            who = _who(now[one] for one in added)
            change = change._replace(who=who, since=self._new.since(now[added[0]]))
        return change

    def packages(self) -> Iterator[Change]:
        reached: defaultdict[str, list[str]] = defaultdict(list)
        for key, item in sorted(self._new.items.items(), key=lambda one: one[0]):
            for package in item.aspects.get("packages", ()):
                reached[package].append(_what(key))
        old, new = self._old.versions, self._new.versions
        for name in new.keys() - old.keys():
            change = self._differing("package", name, (), new[name])
            if change is not None:
                remark = f"to {_listed(reached[name])}" if reached[name] else ""
                yield change._replace(word="new", remark=remark)
        for name in old.keys() - new.keys():
            yield Change("gone", "package", name, old[name])

    def versions(self) -> Iterator[Change]:
        for name in self._common:
            old, now = self._old.versions[name], self._new.versions[name]
            change = self._differing("version", name, old, now)
            if change is not None:
                yield change

    def _seen(self, change: Change, item: Item, remark: str) -> Change:
        if item.address:
            remark = f"{item.address}; {remark}".removesuffix("; ")
        callers = (
            seen for name in _WITH_WHO for seen in item.aspects.get(name, {}).values()
        )
        who = _who(callers)
        return change._replace(who=who, since=self._new.since(item.seen), remark=remark)


def _what(key: Key) -> str:
    return key.label if key.kind == "destination" else f"look-up of {key.label}"


def _who(seen: Iterable[Seen]) -> tuple[Who, ...]:
    found = dict.fromkeys(one.who for one in seen if any(one.who))
    return tuple(found)[:_MAX_WHO]


def _listed(texts: list[str]) -> str:
    more = len(texts) - _MAX_NAMED
    return ", ".join(texts[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
