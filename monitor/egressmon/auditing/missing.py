"""What a policy lacks of what was reached, with the tables that would allow it."""

from collections import Counter
from collections.abc import Iterator

from egressmon.auditing.findings import Finding
from egressmon.auditing.tables import comments, value
from egressmon.policy.language.search import NO_SEARCH, SearchList
from egressmon.policy.reading.file import PROJECT, LoadedPolicy
from egressmon.reports.proposing.entries import (
    Entry,
    entries_of,
    hosts_of,
    is_host,
    uncovered,
)
from egressmon.reports.proposing.needs import Needs

_MAX_USERS = 3


def missing(
    needs: Needs, loaded: LoadedPolicy, searches: list[SearchList], trusted: set[str]
) -> Iterator[Finding]:
    """Yield what `needs` has that the policy `loaded` does not allow.

    `searches` are the search lists of the runs: if all agree, names are written short.
    `trusted` are the resolvers that were asked and are trusted.
    """
    search = searches[0] if len(searches) == 1 else NO_SEARCH
    is_project = loaded.path is not None and loaded.path.name == PROJECT
    prefix = "tool.egressmon." if is_project else ""
    entries = entries_of(needs, search)
    for one in entries:
        yield _uncovered(one, f"[[{prefix}allow]]")
    yield from _look_ups(needs, loaded, entries, search, trusted)
    yield from _accepted(needs, loaded)


def _uncovered(entry: Entry, header: str) -> Finding:
    target, ports = entry.target, sorted(entry.ports)
    host = f"[{target.value}]" if ":" in target.value else target.value
    shown = f":{','.join(map(str, ports))}" if ports else ""
    text = f"{host}{shown}/{target.protocol} by {_used_by(entry.users())}"
    keys = [*entry.keys()]
    lines = [header, *(f"{key} = {value(one)}" for key, one in keys)]
    return Finding(
        "uncovered", text, "add", tuple(lines), details=tuple(entry.remarks())
    )


def _look_ups(
    needs: Needs,
    loaded: LoadedPolicy,
    entries: list[Entry],
    search: SearchList,
    trusted: set[str],
) -> Iterator[Finding]:
    policy = loaded.policy
    questions = needs.questions
    hosts = hosts_of(entries)
    names = uncovered(questions.items(), policy, hosts, needs.look_ups, search)
    servers = sorted({one.resolver for one in questions if one.untrusted})
    lines: list[str] = []
    details = [f"{server} was asked, and is not trusted" for server in servers]
    if servers:
        listed = policy.dns.resolvers
        known = [*listed]
        if isinstance(listed, str):  # a list stands for itself alone
            known = sorted(trusted - {*servers})
            lines += comments(["in place of those of the system, where it asked some"])
        lines.append(f"resolvers = {value([*known, *servers])}")
    details += [f"{name} by {_used_by(names[name])}" for name in names]
    if shown := [one for one in names if is_host(one)]:
        lines.append(f"names = {value([*policy.dns.names, *shown])}")
    if left := [one for one in names if not is_host(one)]:
        lines += comments([f"{len(left)} are no host names: no policy allows them"])
    if details:
        text = f"{len(names)} names and {len(servers)} resolvers"
        toml = (*comments(["in [dns]:"]), *lines)
        yield Finding("look-ups", text, "add", toml, details=tuple(details))


def _accepted(needs: Needs, loaded: LoadedPolicy) -> Iterator[Finding]:
    if not needs.sources:
        return
    listed = loaded.policy.accept.sources
    known = [] if isinstance(listed, str) else [*listed]
    sources = sorted(needs.sources)
    toml = (*comments(["in [accept]:"]), f"from = {value([*known, *sources])}")
    details = tuple(
        f"{one} was accepted by {_used_by(needs.sources[one])}" for one in sources
    )
    yield Finding("accepted", f"{len(sources)} peers", "add", toml, details=details)


def _used_by(users: Counter[str]) -> str:
    ordered = sorted(users.items(), key=lambda one: (-one[1], one[0]))
    shown = [f"{who} ({count}x)" for who, count in ordered[:_MAX_USERS]]
    rest = len(ordered) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
