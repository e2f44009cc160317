"""Make the smallest policy that allows what a run did, for somebody to review."""

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from egressmon.events.model import Address
from egressmon.evidence.records import ConnectionRecord, DnsRecord, Record
from egressmon.evidence.tally import code_label, program_label
from egressmon.policy.judge import Asked, Judge
from egressmon.policy.model import Allow, Dns, Policy
from egressmon.policy.names import parse_host_pattern
from egressmon.reports.learned_names import LookUps, Meant
from egressmon.text import printable

LEARNING = Policy(version=1, dns=Dns(queries="any"))
"""The policy of a learning run: everything but local traffic is a violation."""

_MAX_USES = 100_000
_MAX_SOURCES = 100
_MAX_LEFT_OUT = 20

_Target: TypeAlias = tuple[str, str, str]
"""What one allow entry is about: `host` or `cidr`, its value, and the protocol."""


@dataclass(frozen=True, slots=True)
class _Use:
    """A peer that a program reached; equal ones are counted together."""

    meant: Meant
    address: str
    port: int | None
    protocol: str
    process: str


@dataclass(slots=True)
class _Entry:
    """What one allow entry of the policy will have."""

    ports: set[int] = field(default_factory=set[int])
    uses: Counter[str] = field(default_factory=Counter[str])


class Lesson:
    """Collects from a run's records what a policy has to allow."""

    def __init__(self) -> None:
        self._uses: Counter[_Use] = Counter()
        self._look_ups = LookUps()
        self._search: tuple[str, ...] = ()
        self._queries: dict[str, Counter[str]] = defaultdict(Counter)
        self._resolvers: set[str] = set()
        self._asked: set[str] = set()
        self._sources: dict[str, Counter[str]] = defaultdict(Counter)
        self.forgotten = 0
        """Connections that are in no entry, because too many others are kept."""

    def add(self, record: Record) -> None:
        """Take in `record`."""
        if isinstance(record, ConnectionRecord):
            self._connection(record)
        elif isinstance(record, DnsRecord):
            self._query(record)

    def _connection(self, record: ConnectionRecord) -> None:
        meant = self._look_ups.meant(record)
        if record.verdict == "local" or record.rule == "dns.resolvers":
            return
        if record.op == "accept":
            self._accepted(record)
            return
        use = _Use(
            meant=meant,
            address=record.dst.ip,
            port=record.dst.port,
            protocol=record.protocol,
            process=program_label(record.process),
        )
        if use not in self._uses and len(self._uses) >= _MAX_USES:
            self.forgotten += 1
            return
        self._uses[use] += 1

    def _accepted(self, record: ConnectionRecord) -> None:
        if record.dst.ip not in self._sources and len(self._sources) >= _MAX_SOURCES:
            self.forgotten += 1
            return
        process = record.process.comm if record.process else "unknown process"
        self._sources[record.dst.ip][process] += 1

    def _query(self, record: DnsRecord) -> None:
        self._asked.add(record.resolver)
        is_pointer = record.name and self._look_ups.is_learned_pointer(record.name)
        self._look_ups.add(record)
        if record.rule == "dns.resolvers":
            self._resolvers.add(record.resolver)
        if record.name is not None and not is_pointer:
            asker = program_label(record.process)
            if code := code_label(record.code):
                asker += f": {code}"
            self._queries[record.name][asker] += 1

    def policy_text(self, command: str, search: tuple[str, ...]) -> str:
        """Return the text of the policy file.

        `command` is named in it; `search` are the resolver's search domains.
        """
        self._search = search
        entries = self._entries()
        allow = [_allow(target, entry) for target, entry in sorted(entries.items())]
        lines = [
            f"# Learned by egressmon from one run of: {printable(command)}",
            "# Review every entry; see docs/policy.md for the format.",
            "version = 1",
            'enforce = "fail"',
        ]
        if self.forgotten:
            lines.insert(
                2, f"# Not whole: {self.forgotten} connections beyond what is kept."
            )
        for target, entry in sorted(entries.items()):
            lines += ["", *_entry_lines(target, entry)]
        lines += self._dns_lines(Policy(version=1, allow=tuple(allow)), search)
        lines += self._accept_lines()
        return "\n".join(lines) + "\n"

    # Each name that a process asked for itself is needed. Where nobody knows which one
    # was meant, be greedy: always take the name that covers most of the remaining
    # connections, so that an address with several names needs one entry only.
    def _entries(self) -> dict[_Target, _Entry]:
        entries: dict[_Target, _Entry] = defaultdict(_Entry)
        pending = {
            use: count
            for use, count in self._uses.items()
            if not self._is_resolver_traffic(use)
        }
        for use in [use for use in pending if use.meant.each]:
            names = self._names(use)
            count = pending.pop(use) if names else 0
            for name in names:
                _add_use(entries, name, use, count)
        votes: Counter[str] = Counter()
        users: dict[str, list[_Use]] = defaultdict(list)
        for use, count in pending.items():
            for name in self._names(use):
                votes[name] += count
                users[name].append(use)
        for name in _by_votes(votes):
            for use in users[name]:
                if count := pending.pop(use, 0):
                    _add_use(entries, name, use, count)
                    votes.subtract(dict.fromkeys(self._names(use), count))
        for use, count in pending.items():
            _add_use(entries, None, use, count)
        return entries

    def _names(self, use: _Use) -> list[str]:
        written = map(self._written, use.meant.names)
        return list(dict.fromkeys(filter(_expressible, written)))

    def _written(self, name: str) -> str:
        return self._look_ups.short(name, self._search)

    def _is_resolver_traffic(self, use: _Use) -> bool:
        return use.port == 53 and use.address in self._asked

    def _dns_lines(self, policy: Policy, search: tuple[str, ...]) -> list[str]:
        lines: list[str] = []
        if self._resolvers:
            servers = ", ".join(f'"{one}"' for one in sorted(self._asked))
            lines.append(f"resolvers = [{servers}]")
        resolver = ipaddress.ip_address("127.0.0.1")
        judge = Judge(policy, frozenset[Address]({resolver}), search)
        left: dict[str, Counter[str]] = defaultdict(Counter)
        for name, askers in sorted(self._queries.items()):
            known = Asked(origins=self._look_ups.origin(name))
            if judge.query(name, resolver, known).word == "violation":
                left[self._written(name)].update(askers)
        # Names that no policy can express become comments: if any name were allowed
        # instead, one odd look-up would allow all others.
        left_out = [name for name in left if not _expressible(name)]
        for name in left_out[:_MAX_LEFT_OUT]:
            uses = _used_by(left.pop(name))
            lines.append(f"# left out, no host name: {printable(name, 80)}  ({uses})")
        if len(left_out) > _MAX_LEFT_OUT:
            lines.append(
                f"# and {len(left_out) - _MAX_LEFT_OUT} more that are no host names"
            )
        names = [name for name in left if _expressible(name)]
        if names:
            lines += ["names = [  # looked up, nothing connected there"]
            lines += [f'  "{name}",  # {_used_by(left[name])}' for name in names]
            lines += ["]"]
        return ["", "[dns]", *lines] if lines else []

    # That somebody connected does not mean that they should: these are comments only.
    def _accept_lines(self) -> list[str]:
        if not self._sources:
            return []
        lines = ["", "# Other machines connected to the command; to admit them:"]
        lines += ["# [accept]", "# from = ["]
        lines += [
            f'#   "{source}",  # {_used_by(uses)}'
            for source, uses in sorted(self._sources.items())
        ]
        return [*lines, "# ]"]


def _add_use(
    entries: dict[_Target, _Entry], name: str | None, use: _Use, count: int
) -> None:
    protocol = use.protocol if use.protocol in {"tcp", "udp"} else "any"
    target = ("host", name, protocol) if name else ("cidr", use.address, protocol)
    entry = entries[target]
    if use.port is not None:
        entry.ports.add(use.port)
    entry.uses[use.process] += count


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
def _expressible(name: str) -> bool:
    try:
        return parse_host_pattern(name) == name
    except ValueError:
        return False


def _allow(target: _Target, entry: _Entry) -> Allow:
    kind, value, protocol = target
    ports = sorted(entry.ports) or [443]
    return Allow.model_validate({kind: value, "ports": ports, "protocol": protocol})


def _entry_lines(target: _Target, entry: _Entry) -> list[str]:
    kind, value, protocol = target
    lines = [f"# {_used_by(entry.uses)}", "[[allow]]", f'{kind} = "{value}"']
    ports = sorted(entry.ports)
    if ports and ports != [443]:
        lines.append(f"ports = {ports}")
    if protocol != "tcp":
        lines.append(f'protocol = "{protocol}"')
    return lines


def _used_by(uses: Counter[str]) -> str:
    return ", ".join(
        f"{printable(process)} ({count}x)" for process, count in uses.most_common(8)
    )
