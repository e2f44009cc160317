"""Allow entries that cover what a run reached, and the names that it only looked up."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from egressmon.policy.names import parse_host_pattern
from egressmon.reports.needs import Needs, Question, Use


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


def entries_of(needs: Needs) -> list[Entry]:
    """Return an entry for each name or address that was reached, with its ports.

    The name is the one that the connection goes by. What went to a resolver that was
    asked is left out: that is for `dns.resolvers` to allow.
    """
    resolvers = {question.resolver for question in needs.questions}
    entries: dict[Target, Entry] = {}
    for use, count in needs.uses.items():
        if use.port == 53 and use.address in resolvers:
            continue
        target = _target(use)
        entry = entries.setdefault(target, Entry(target))
        entry.uses[use] += count
        if use.port is not None:
            entry.ports.add(use.port)
    return [entries[target] for target in sorted(entries)]


def _target(use: Use) -> Target:
    protocol = use.protocol if use.protocol in {"tcp", "udp"} else "any"
    for name in use.names:
        if is_host(name):
            return Target("host", name, protocol)
    return Target("cidr", use.address, protocol)


@lru_cache(maxsize=65536)
def is_host(name: str) -> bool:
    """Tell whether a policy can name `name`: only host names, and no patterns."""
    try:
        return "*" not in name and parse_host_pattern(name) == name
    except ValueError:
        return False


def asked_names(questions: Iterable[tuple[Question, int]]) -> dict[str, Counter[str]]:
    """Return the names that `questions` ask for, in order, with who asked."""
    names: dict[str, Counter[str]] = defaultdict(Counter)
    for question, count in questions:
        if question.name is not None:
            names[question.name][question.who] += count
    return dict(sorted(names.items()))
