"""Which host names an address is known by, and how that is known."""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from egressmon.events.model import Address
from egressmon.policy.names import canonical

if TYPE_CHECKING:
    from egressmon.policy.model import AnyPolicy

Source: TypeAlias = Literal["dns", "hosts-file", "policy-resolution"]
"""How a name is known: from a DNS answer to the scope, from /etc/hosts, or because
egressmon itself resolved the policy's names."""

GRACE_NS = 600 * 1_000_000_000
"""How long a name is kept after its TTL: clients use addresses longer than that."""

_RANK: dict[Source, int] = {"dns": 0, "hosts-file": 1, "policy-resolution": 2}
_MAX_ADDRESSES = 65536
_MAX_NAMES = 256  # of one address


@dataclass(frozen=True, slots=True)
class Name:
    """A host name, and how it is known to belong to an address."""

    name: str
    source: Source


def names_for_verdict(names: tuple[Name, ...]) -> tuple[str, ...]:
    """Return the host names in `names` that the verdict is based on, in that order.

    `names` has the most reliable first. That a name of the policy resolves to an
    address is only a guess, for clients that cached it before the run: it does not
    count if there is a better name.
    """
    if names and names[0].source != "policy-resolution":
        names = tuple(name for name in names if name.source != "policy-resolution")
    return tuple(name.name for name in names)


class Names:
    """The names that this run learned, by address; the oldest go if it is too many."""

    def __init__(self) -> None:
        self._known: OrderedDict[Address, dict[Name, int | None]] = OrderedDict()
        self.dropped = 0
        """How many names were dropped, because there were too many."""

    def learn(
        self, address: Address, name: str, source: Source, expires_ns: int | None = None
    ) -> None:
        """Note that `name` leads to `address`.

        It holds until `expires_ns`, in kernel time; None: for the whole run.
        """
        names = self._known.setdefault(address, {})
        self._known.move_to_end(address)
        entry = Name(canonical(name), source)
        if entry not in names and len(names) >= _MAX_NAMES:
            names.pop(next(iter(names)))
            self.dropped += 1
        before = names.get(entry, 0)
        if before is None or expires_ns is None:
            names[entry] = None
        else:
            names[entry] = max(before, expires_ns)
        if len(self._known) > _MAX_ADDRESSES:
            self.dropped += len(self._known.popitem(last=False)[1])

    def of(self, address: Address, now_ns: int) -> tuple[Name, ...]:
        """Return the names of `address` at `now_ns`, the most reliable first.

        `now_ns` is kernel time.
        """
        names = self._known.get(address)
        if not names:
            return ()
        current = [
            name
            for name, expires in names.items()
            if expires is None or expires + GRACE_NS >= now_ns
        ]
        current.sort(key=lambda name: _RANK[name.source])
        return tuple(current)


def read_hosts_file(path: Path) -> list[tuple[Address, str]]:
    """Return the (address, name) pairs of a hosts(5) file; bad lines are skipped."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    pairs: list[tuple[Address, str]] = []
    for line in lines:
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            address = ipaddress.ip_address(words[0].partition("%")[0])
        except ValueError:
            continue
        pairs.extend((address, name) for name in words[1:])
    return pairs


@dataclass(frozen=True, slots=True)
class Resolver:
    """What resolv.conf(5) says: the servers, and the search domains of short names."""

    servers: tuple[Address, ...]
    search: tuple[str, ...]


def read_resolver(path: Path) -> Resolver:
    """Return the resolver configuration in `path`.

    The server is 127.0.0.1 if none is named or `path` cannot be read (resolv.conf(5)).
    """
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    servers: list[Address] = []
    search: tuple[str, ...] = ()
    for line in lines:
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            try:
                servers.append(ipaddress.ip_address(words[1].partition("%")[0]))
            except ValueError:
                continue
        elif words[0] in {"search", "domain"}:
            search = tuple(map(canonical, words[1:]))
    if not servers:
        servers = [ipaddress.ip_address("127.0.0.1")]
    return Resolver(tuple(servers), search)


def trusted_resolvers(policy: "AnyPolicy", resolver: Resolver) -> frozenset[Address]:
    """Return the resolvers that `policy` trusts; `resolver` is the system's."""
    if policy.dns.resolvers == "system":
        return frozenset(resolver.servers)
    return frozenset(map(ipaddress.ip_address, policy.dns.resolvers))
