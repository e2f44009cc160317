"""Allow entries that cover what a run reached, and the names that it only looked up."""

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Asked
from egressmon.policy.language.names import parse_host_pattern
from egressmon.policy.language.search import SearchList
from egressmon.reports.proposing.learned_names import LookUps
from egressmon.reports.proposing.needs import Needs, Question, Use
from egressmon.text import printable
from egressmon.values import dataclass, field

if TYPE_CHECKING:
    from egressmon.policy.language.model import AnyPolicy

_MAX_LISTED = 3
_MAX_SHOWN = 80  # characters of a name
_PROTOCOLS = {
    "tcp": "tcp",
    "udp": "udp",
    "sctp": "sctp",
    "icmp": "icmp",
    "icmpv6": "icmp",
}
"""The evidence's protocols, as a policy names them; for others it has `any` alone."""
_STUB = ipaddress.ip_address("127.0.0.1")


class Target(NamedTuple):
    """What one allow entry is about."""

    key: str
    """`host` or `cidr`."""
    value: str
    protocol: str


@dataclass(slots=True)
class Entry:
    """One allow entry, and who needs it."""

    target: Target
    ports: set[int] = field(default_factory=set[int])
    uses: Counter[Use] = field(default_factory=Counter[Use])
    beside: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    """Of each use, the other names that may have been meant in place of this one."""

    def keys(self) -> Iterator[tuple[str, str | list[int]]]:
        """Yield the keys of its table, and their values."""
        yield self.target.key, self.target.value
        ports = sorted(self.ports)
        if ports and ports != [443]:
            yield "ports", ports
        if self.target.protocol != "tcp":
            yield "protocol", self.target.protocol

    def users(self) -> Counter[str]:
        """Return who needs it, and how often."""
        users: Counter[str] = Counter()
        for use, count in self.uses.items():
            users[use.who] += count
        return users

    def remarks(self) -> Iterator[str]:
        """Yield what a reviewer should know beside who needs it."""
        if all(self.beside):
            names = dict.fromkeys(name for names in self.beside for name in names)
            asked = f"before it connected, it also asked for {_few(names)}"
            yield f"{asked}: which one it meant is not known"
        others = dict.fromkeys(name for use in self.uses for name in use.meant.others)
        if others:
            yield f"others asked for {_few(others)}: write that host if it is meant"


def _few(names: Iterable[str]) -> str:
    """Return the first of `names`, and how many more there are."""
    listed = list(names)
    shown = ", ".join(printable(name, _MAX_SHOWN) for name in listed[:_MAX_LISTED])
    rest = len(listed) - _MAX_LISTED
    return f"{shown} and {rest} more" if rest > 0 else shown


def entries_of(needs: Needs, search: SearchList) -> list[Entry]:
    """Return the entries that cover what was reached, with their ports, in order.

    `search` is the resolver's search list: names below its domains are written short.
    What went to a resolver that was asked is left out: `dns.resolvers` is for that.
    """
    resolvers = {question.resolver for question in needs.questions}
    uses = {
        use: count
        for use, count in needs.uses.items()
        if use.port != 53 or use.address not in resolvers
    }
    entries: dict[Target, Entry] = {}
    candidates = {use: _candidates(use, needs.look_ups, search) for use in uses}
    for use, name in _named(uses, candidates):
        target = _target(use, name)
        entry = entries.setdefault(target, Entry(target))
        entry.uses[use] = uses[use]
        either = candidates[use] if use.meant.each else ()
        entry.beside.append(tuple(one for one in either if one != name))
        if use.port is not None:
            entry.ports.add(use.port)
    return [entries[target] for target in sorted(entries)]


def _target(use: Use, name: str | None) -> Target:
    protocol = _PROTOCOLS.get(use.protocol, "any")
    if name is None:
        return Target("cidr", use.address, protocol)
    return Target("host", name, protocol)


# Each name that a process asked for itself is needed. Where nobody knows which one was
# meant, be greedy: always take the name that covers most of the remaining connections,
# so that an address with several names needs one entry only. Of two alike, take the
# first.
def _named(
    uses: dict[Use, int], candidates: dict[Use, list[str]]
) -> Iterator[tuple[Use, str | None]]:
    pending = dict(uses)
    for use in uses:
        if use.meant.each and candidates[use]:
            del pending[use]
            for name in candidates[use]:
                yield use, name
    votes: Counter[str] = Counter()
    users: dict[str, list[Use]] = defaultdict(list)
    for use, count in pending.items():
        for name in candidates[use]:
            votes[name] += count
            users[name].append(use)
    for name in _by_votes(votes):
        for use in users[name]:
            if count := pending.pop(use, 0):
                yield use, name
                votes.subtract(dict.fromkeys(candidates[use], count))
    for use in pending:
        yield use, None


def _candidates(use: Use, look_ups: LookUps, search: SearchList) -> list[str]:
    written = (look_ups.short_host(name, search) for name in use.meant.names)
    return list(dict.fromkeys(filter(is_host, written)))


# Yield names by their votes, most first; the votes may go down in the meantime.
def _by_votes(votes: Counter[str]) -> Iterator[str]:
    heap = [(-count, place, name) for place, (name, count) in enumerate(votes.items())]
    heapify(heap)
    while heap:
        count, place, name = heappop(heap)
        if votes[name] == -count:
            yield name
        elif votes[name] > 0:
            heappush(heap, (-votes[name], place, name))


@lru_cache(maxsize=65536)
def is_host(name: str) -> bool:
    """Tell whether a policy can name `name`: only host names, and no patterns."""
    try:
        return "*" not in name and parse_host_pattern(name) == name
    except ValueError:
        return False


def hosts_of(entries: Iterable[Entry]) -> set[str]:
    """Return the host names that `entries` allow."""
    return {one.target.value for one in entries if one.target.key == "host"}


def uncovered(
    questions: Iterable[tuple[Question, int]],
    policy: "AnyPolicy",
    hosts: set[str],
    look_ups: LookUps,
    search: SearchList,
) -> dict[str, Counter[str]]:
    """Return the names in `questions` that may not be looked up, with who asked.

    They may be if `policy` covers them, or if one of `hosts` is the name, or one that
    it is an alias of, perhaps below one of the search domains. They are returned as a
    policy has them.
    """
    judge = Judge(policy, frozenset({_STUB}), search)
    names: dict[str, Counter[str]] = defaultdict(Counter)
    for question, count in questions:
        name = question.name
        if name is None:
            continue
        origins = look_ups.origin(name)
        if any(_is_below(one, hosts, search) for one in (name, *origins)):
            continue
        if judge.query(name, _STUB, Asked(origins)).word == "violation":
            names[look_ups.short(name, search)][question.who] += count
    return dict(sorted(names.items()))


def _is_below(name: str, hosts: set[str], search: SearchList) -> bool:
    return name in hosts or any(short in hosts for short in search.shorter(name))
