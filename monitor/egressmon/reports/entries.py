"""Allow entries that cover what a run reached, and the names that it only looked up."""

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from egressmon.policy.judge import Judge
from egressmon.policy.names import parse_host_pattern
from egressmon.policy.questions import Asked
from egressmon.reports.learned_names import LookUps
from egressmon.reports.needs import Needs, Question, Use
from egressmon.values import dataclass, field

if TYPE_CHECKING:
    from egressmon.policy.model import AnyPolicy

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


def entries_of(needs: Needs, search: tuple[str, ...]) -> list[Entry]:
    """Return the entries that cover what was reached, with their ports, in order.

    `search` are the resolver's search domains: names below them are written short.
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
        if use.port is not None:
            entry.ports.add(use.port)
    return [entries[target] for target in sorted(entries)]


def _target(use: Use, name: str | None) -> Target:
    protocol = use.protocol if use.protocol in {"tcp", "udp"} else "any"
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


def _candidates(use: Use, look_ups: LookUps, search: tuple[str, ...]) -> list[str]:
    written = (look_ups.short(name, search) for name in use.meant.names)
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
    search: tuple[str, ...],
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


def _is_below(name: str, hosts: set[str], search: tuple[str, ...]) -> bool:
    return name in hosts or any(
        name.removesuffix(f".{domain}") in hosts for domain in search
    )
