"""Which host names an address is known by, and how that is known."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from egressmon.events.model import Address
from egressmon.naming.absent import Absent
from egressmon.naming.aliases import Aliases
from egressmon.naming.asked import Asked, AskedBy, Asker, Asking, ProcessKey
from egressmon.policy.language.names import canonical
from egressmon.policy.language.search import NO_SEARCH, SearchList
from egressmon.values import dataclass

if TYPE_CHECKING:
    from egressmon.policy.language.model import AnyPolicy

Source: TypeAlias = Literal["dns", "hosts-file", "policy-resolution"]
"""How a name is known: from a DNS answer to the scope, from /etc/hosts, or because
egressmon itself resolved the policy's names."""

GRACE_NS = 600 * 1_000_000_000
"""How long a name is kept after its TTL: clients use addresses longer than that."""

_RANK: dict[Source, int] = {"dns": 0, "hosts-file": 1, "policy-resolution": 2}
_NEAR: dict[AskedBy | None, int] = {
    "thread": 0, "process": 1, "ancestor": 2, "other": 3, None: 4
}  # fmt: skip
_OWN = frozenset[AskedBy | None]({"thread", "process"})
_MAX_ADDRESSES = 65536
_MAX_NAMES = 256  # of one address
_MAX_NDOTS = 15


@dataclass(frozen=True, slots=True)
class Name:
    """A host name, and how it is known to belong to an address."""

    name: str
    source: Source
    asked_by: AskedBy | None = None
    """Who asked for it, seen from the connection; None: it comes from no DNS answer."""


class Known(Protocol):
    """A name, as `Name` and evidence have it."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def asked_by(self) -> AskedBy | None: ...


def names_for_verdict(names: Sequence[Known]) -> tuple[str, ...]:
    """Return the host names in `names` that the verdict is based on, in that order.

    `names` has the most likely first. What the process asked for itself is what it
    means: names that others asked for count only where it asked for none. That a name
    of the policy resolves to an address is only a guess, for clients that cached it
    before the run: it counts where there is no other.
    """
    if not names:
        return ()
    best = names[0]
    if best.source == "policy-resolution":
        return tuple(name.name for name in names)
    meant = _OWN if best.asked_by in _OWN else {best.asked_by}
    return tuple(
        name.name
        for name in names
        if name.source == "hosts-file"
        or (name.source == "dns" and name.asked_by in meant)
    )


@dataclass(slots=True)
class _Lasting:
    """A name of an address: until when, and in which turn it was last asked for."""

    expires_ns: int | None
    turn: int


_Key: TypeAlias = tuple[str, Source]


class Names:
    """The names that this run learned, by address; the oldest go if it is too many."""

    def __init__(self, beyond: "Names | None" = None) -> None:
        """`beyond` are those of another place, of which the policy's own count here.

        What egressmon itself resolved is no process's word, wherever it is used.
        """
        self._beyond = beyond
        self._known: OrderedDict[Address, dict[_Key, _Lasting]] = OrderedDict()
        self._asked = Asked()
        self.aliases = Aliases()
        self.absent = Absent()
        self._versions: dict[Address, int] = {}
        """When anything was last learned of an address, counted in lessons."""
        self._lessons = 0
        self.dropped = 0
        """How many names were dropped, because there were too many."""

    def learn(
        self,
        address: Address,
        name: str,
        source: Source,
        expires_ns: int | None = None,
        asker: Asker | None = None,
    ) -> None:
        """Note that `name` leads to `address`, as `asker` was told.

        It holds until `expires_ns`, in kernel time; None: for the whole run.
        """
        self._lessons += 1
        self._versions[address] = self._lessons
        names = self._known.setdefault(address, {})
        self._known.move_to_end(address)
        key = canonical(name), source
        if key not in names and len(names) >= _MAX_NAMES:
            names.pop(next(iter(names)))
            self.dropped += 1
        turn = self._asked.note(address, key[0], asker) if source == "dns" else 0
        known = names.setdefault(key, _Lasting(expires_ns, turn))
        known.turn = turn
        if known.expires_ns is None or expires_ns is None:
            known.expires_ns = None
        else:
            known.expires_ns = max(known.expires_ns, expires_ns)
        if len(self._known) > _MAX_ADDRESSES:
            oldest, dropped = self._known.popitem(last=False)
            del self._versions[oldest]
            self.dropped += len(dropped)

    def forget(self, now_ns: int, is_done: Callable[[ProcessKey], bool]) -> int:
        """Let go of the names that no longer hold at `now_ns`, kernel time.

        So of what processes asked for that are done: `Asked.forget`. Return how many
        names these were. No event from before `now_ns` may come any more.
        """
        before = sum(map(len, self._known.values()))
        for address, names in list(self._known.items()):
            for key in [key for key, one in names.items() if not _holds(one, now_ns)]:
                del names[key]
            if not names:
                del self._known[address]
                del self._versions[address]
        self._asked.forget(is_done, self._is_named)
        self.aliases.forget(now_ns - GRACE_NS)
        return before - sum(map(len, self._known.values()))

    def _is_named(self, address: Address) -> bool:
        return bool(self._of(address))

    def basis(self, address: Address) -> tuple[int, ...]:
        """Return all that the names of `address` rest on, and what is said of them.

        That is, for one asker, until the time that `until_ns` returns.
        """
        known = self._versions.get(address)
        beyond = self._beyond._versions.get(address) if self._beyond else None  # noqa: SLF001 -- its like
        if known is None and beyond is None:
            return ()  # it has no names, so what is said of names changes nothing
        said = self.aliases.version, self.absent.version
        return known or 0, beyond or 0, self._asked.forgotten, *said

    def until_ns(self, address: Address, now_ns: int) -> int | None:
        """Return until when the names of `address` at `now_ns` hold, in kernel time.

        None: to the end of the run.
        """
        ends = [
            known.expires_ns + GRACE_NS
            for known in self._of(address).values()
            if known.expires_ns is not None and _holds(known, now_ns)
        ]
        return min(ends, default=None)

    def knows(self, address: Address, now_ns: int) -> bool:
        """Tell whether `address` has any name at `now_ns`, kernel time."""
        return any(_holds(one, now_ns) for one in self._of(address).values())

    def _of(self, address: Address) -> "dict[_Key, _Lasting]":
        own = self._known.get(address, {})
        if self._beyond is None:
            return own
        others = self._beyond._known.get(address, {})  # noqa: SLF001 -- its like
        return {k: v for k, v in others.items() if k[1] == "policy-resolution"} | own

    def of(
        self, address: Address, now_ns: int, asker: Asker | None = None
    ) -> tuple[Name, ...]:
        """Return the names of `address` at `now_ns` (kernel time), most likely first.

        First comes what `asker` itself asked for last, then what its process, a process
        that it descends from, and others asked for; then names from no DNS answer.
        """
        nearest = self._asked.nearest(address, asker)
        found: list[tuple[int, int, int, Name]] = []
        for (text, source), known in self._of(address).items():
            if not _holds(known, now_ns):
                continue
            asking = nearest.get(text) or Asking("other", known.turn)
            by = asking.by if source == "dns" else None
            turn = asking.turn if source == "dns" else 0
            name = Name(text, source, by)
            found.append((_RANK[source], _NEAR[by], -turn, name))
        found.sort(key=lambda one: one[:3])
        return tuple(one[3] for one in found)


def _holds(known: _Lasting, now_ns: int) -> bool:
    return known.expires_ns is None or known.expires_ns + GRACE_NS >= now_ns


def read_hosts_file(path: Path) -> list[tuple[Address, str]]:
    """Return the (address, name) pairs of a hosts(5) file; bad lines are skipped."""
    try:
        return parse_hosts(path.read_text("utf-8", "replace"))
    except OSError:
        return []


def parse_hosts(text: str) -> list[tuple[Address, str]]:
    """Return the (address, name) pairs in the `text` of a hosts(5) file."""
    pairs: list[tuple[Address, str]] = []
    for line in text.splitlines():
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
    """What resolv.conf(5) says: the servers, and how names are completed."""

    servers: tuple[Address, ...]
    search: SearchList = NO_SEARCH


def read_resolver(path: Path) -> Resolver:
    """Return the resolver configuration in `path`.

    The server is 127.0.0.1 if none is named or `path` cannot be read (resolv.conf(5)).
    """
    try:
        return parse_resolver(path.read_text("utf-8", "replace"))
    except OSError:
        return parse_resolver("")


def parse_resolver(text: str) -> Resolver:
    """Return what the `text` of a resolv.conf(5) says."""
    servers: list[Address] = []
    domains: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            try:
                servers.append(ipaddress.ip_address(words[1].partition("%")[0]))
            except ValueError:
                continue
        elif words[0] in {"search", "domain"}:
            domains = tuple(map(canonical, words[1:]))
        elif words[0] == "options":
            ndots = _ndots(words[1:], ndots)
    if not servers:
        servers = [ipaddress.ip_address("127.0.0.1")]
    return Resolver(tuple(servers), SearchList(domains, ndots))


# As resolv.conf(5) has it: the last one counts, and at most 15.
def _ndots(options: Sequence[str], before: int) -> int:
    for option in options:
        key, _, value = option.partition(":")
        if key == "ndots" and value.isascii() and value.isdecimal():
            before = min(int(value), _MAX_NDOTS)
    return before


def trusted_resolvers(policy: "AnyPolicy", resolver: Resolver) -> frozenset[Address]:
    """Return the resolvers that `policy` trusts; `resolver` is the system's."""
    if policy.dns.resolvers == "system":
        return frozenset(resolver.servers)
    return frozenset(map(ipaddress.ip_address, policy.dns.resolvers))
