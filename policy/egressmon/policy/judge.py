"""Judge one destination against a policy: a pure function that looks nothing up."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias

from egressmon.policy.index import HostIndex, NetworkIndex
from egressmon.policy.names import canonical, covers

if TYPE_CHECKING:
    from egressmon.policy.model import Allow, AnyPolicy, By

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Word: TypeAlias = Literal["allowed", "violation", "local"]
Listener: TypeAlias = Literal["scope", "nobody", "outside", "unknown"]

_FROM = "accept.from"
_PORTLESS = frozenset({"icmp", "icmpv6", "raw"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of one connection or query, by which rule, and why."""

    word: Word
    rule: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """One fact about an origin that the command could have made up in this run."""

    what: Literal["exe", "module", "package", "route"]
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Who makes a connection, as far as it is known; unknown facts match no entry."""

    exe: str | None = None
    modules: tuple[str, ...] = ()
    """Paths of the calling module and of its binding."""
    packages: tuple[str, ...] = ()
    """Names of the packages that own them."""
    route: str = "unknown"
    route_reason: str | None = None
    bypass: bool | None = None
    """Whether the connection bypasses the language's own sockets; None: unknown."""
    claimed: tuple[Claimed, ...] = ()
    """Which of the facts above the command could have made up."""

    def why_claimed(self, what: str, value: str) -> str | None:
        """Return why the fact (`what`, `value`) is a claim, or None if it is not."""
        for one in self.claimed:
            if (one.what, one.value) == (what, value):
                return one.why
        return None


NOBODY = Origin()


@dataclass(frozen=True, slots=True)
class Destination:
    """What a connection reaches, as far as it is known.

    `address` is None for names that were not looked up.
    `listener` says who receives there if it is this machine; None: another machine.
    `port` is None if the protocol has no ports.
    """

    address: Address | None
    port: int | None
    protocol: str
    names: tuple[str, ...] = ()
    listener: Listener | None = None


class Judge:
    """A policy, parsed once to answer many questions."""

    def __init__(
        self,
        policy: "AnyPolicy",
        resolvers: frozenset[Address],
        search: tuple[str, ...] = (),
    ) -> None:
        """Prepare `policy`; trust the DNS servers `resolvers`.

        `search` has the resolver's search domains (resolv.conf(5)).
        """
        self.policy = policy
        self.resolvers = resolvers
        self._search = tuple(map(canonical, search))
        self._allowed = _Entries(policy.allow)
        self._names = HostIndex(enumerate(policy.dns.names))
        sources = policy.accept.sources
        self._sources = (
            ()
            if isinstance(sources, str)
            else tuple(map(ipaddress.ip_network, sources))
        )
        self._admitted = NetworkIndex(enumerate(self._sources))

    def connection(self, target: Destination, origin: Origin = NOBODY) -> Verdict:
        """Return the verdict on a connection from `origin` to `target`."""
        verdict = self._destination(target, origin)
        if self.policy.bypass == "report" or verdict.word != "allowed":
            return verdict
        if origin.bypass is False:
            return verdict
        if origin.bypass:
            why = f"it bypasses the language's own sockets (route {origin.route})"
        else:
            why = f"whether it is a bypass is not known ({origin.route_reason})"
        return Verdict("violation", "bypass", f"{why}; {verdict.reason}")

    def _destination(self, target: Destination, origin: Origin) -> Verdict:
        mismatch: str | None = None
        for entry in self._allowed.near(target.address, target.names):
            if why := entry.allows(target):
                if difference := entry.differs(origin):
                    mismatch = mismatch or f"{entry.name} covers it, but {difference}"
                    continue
                return Verdict("allowed", entry.name, why)
        verdict = self._without_entry(target)
        if mismatch is not None and verdict.word == "violation":
            return Verdict("violation", verdict.rule, mismatch)
        return verdict

    def _without_entry(self, target: Destination) -> Verdict:
        # DNS queries to a trusted resolver are judged one by one, in query().
        if (
            target.port == 53
            and target.protocol in {"tcp", "udp"}
            and target.address in self.resolvers
        ):
            return Verdict("allowed", "dns.resolvers", "a trusted resolver")
        if target.listener is not None:
            return self._local(target.listener)
        return Verdict("violation", None, _uncovered(target))

    def _local(self, listener: Listener) -> Verdict:
        mode = self.policy.local.listeners
        if mode == "any":
            return Verdict("local", "local.listeners", "loopback is open")
        if mode == "deny":
            return Verdict(
                "violation", "local.listeners", "loopback needs an allow entry"
            )
        if listener == "scope":
            return Verdict("local", "local.listeners", "a listener inside the scope")
        if listener == "nobody":
            return Verdict("local", "local.listeners", "nothing listens there")
        if listener == "unknown":
            why = "who listens there could not be determined, and"
            return Verdict("violation", None, f"{why} no allow entry covers it")
        why = "the listener is outside the scope (a relay?)"
        return Verdict("violation", None, f"{why}, and no allow entry covers it")

    def accepted(self, peer: Address, *, is_local: bool) -> Verdict:
        """Return the verdict on a connection that `peer` makes to the scope.

        `is_local` says that it comes from this machine itself.
        """
        if is_local:
            return Verdict("local", _FROM, "the peer is on this machine")
        if self.policy.accept.sources == "any":
            return Verdict("allowed", _FROM, "any peer may connect")
        for place in sorted(self._admitted.places(peer)):
            return Verdict("allowed", _FROM, f"{peer} in {self._sources[place]}")
        return Verdict("violation", _FROM, f"accept.from does not admit {peer}")

    def query(self, name: str, resolver: Address) -> Verdict:
        """Return the verdict on a DNS query for `name` that is sent to `resolver`."""
        if resolver not in self.resolvers:
            why = f"{resolver} is not a trusted resolver"
            return Verdict("violation", "dns.resolvers", why)
        if self.policy.dns.queries == "any":
            return Verdict("allowed", "dns.queries", "any name may be looked up")
        name = canonical(name)
        for candidate in self._candidates(name):
            for entry in self._allowed.near(None, (candidate,)):
                if entry.covers(candidate):
                    return Verdict("allowed", entry.name, "an allow entry covers it")
            if self._is_listed(candidate):
                return Verdict("allowed", "dns.names", "listed under dns.names")
        if name == "localhost" or name.endswith(".localhost"):
            return Verdict("allowed", None, "localhost (RFC 6761)")
        return Verdict("violation", None, f"no allow entry covers {name}")

    def _is_listed(self, name: str) -> bool:
        patterns = self.policy.dns.names
        return any(covers(patterns[place], name) for place in self._names.places(name))

    # A resolver library also asks for a short name below each search domain.
    def _candidates(self, name: str) -> Iterable[str]:
        yield name
        for domain in self._search:
            if name.endswith("." + domain):
                yield name.removesuffix("." + domain)


class _Entries:
    """Entries of the policy in their order, found by names and addresses."""

    def __init__(self, listed: "Iterable[Allow]") -> None:
        self._all = tuple(_Entry(place, one) for place, one in enumerate(listed))
        self._hosts = HostIndex(
            (place, one.host)
            for place, one in enumerate(self._all)
            if one.host is not None
        )
        self._networks = NetworkIndex(
            (place, one.network)
            for place, one in enumerate(self._all)
            if one.network is not None
        )

    def near(self, address: Address | None, names: Iterable[str]) -> Iterator["_Entry"]:
        """Yield, in order, all entries that may cover the address or one of the names.

        It takes about as long in a list of thousands as in one of ten.
        """
        places = set[int]()
        if address is not None:
            places.update(self._networks.places(address))
        for name in names:
            places.update(self._hosts.places(name))
        return (self._all[place] for place in sorted(places))


class _Entry:
    def __init__(self, index: int, allow: "Allow") -> None:
        self.name = f"allow[{index}]"
        self.host = allow.host
        self.network = ipaddress.ip_network(allow.cidr) if allow.cidr else None
        self._allow = allow
        self._ports = frozenset(allow.ports)

    def covers(self, name: str) -> bool:
        return self.host is not None and covers(self.host, name)

    def differs(self, origin: Origin) -> str | None:
        """Return why the entry's `by` does not admit `origin`, or None if it does."""
        by = self._allow.by
        if by is None:
            return None
        exe = (origin.exe,) if origin.exe else ()
        for what, wanted, found in (
            ("package", by.package, origin.packages),
            ("exe", by.exe, exe),
            ("module", by.module, origin.modules),
            ("route", by.route, (origin.route,)),
        ):
            if wanted and (why := _mismatch(what, wanted, found, by, origin)):
                return why
        return None

    def allows(self, target: Destination) -> str | None:
        allow = self._allow
        if target.protocol in _PORTLESS:
            if allow.protocol != "any":
                return None
        elif allow.protocol not in {"any", target.protocol}:
            return None
        if target.port is not None and target.port not in self._ports:
            return None
        matched = self._matched(target)
        if matched is None:
            return None
        return f"{matched}: {allow.reason}" if allow.reason else matched

    def _matched(self, target: Destination) -> str | None:
        if self.network is not None:
            inside = target.address is not None and target.address in self.network
            return f"{target.address} in {self.network}" if inside else None
        for name in target.names:
            if self.covers(name):
                return f"{name} matches {self.host}"
        return None


def _mismatch(
    what: str,
    wanted: tuple[str, ...],
    found: tuple[str, ...],
    by: "By",
    origin: Origin,
) -> str | None:
    matching = [one for one in found if _matches(what, one, wanted)]
    if not matching:
        listed = ", ".join(found) or "unknown"
        return f"only by {what} {', '.join(wanted)}, and this is {listed}"
    whys = [origin.why_claimed(what, one) for one in matching]
    if by.claimed or None in whys:
        return None
    return f"only by {what} {', '.join(wanted)}, and this claims to be ({whys[0]})"


def _matches(what: str, value: str, wanted: tuple[str, ...]) -> bool:
    names = [value]
    if what == "module":
        names.append(value.rpartition("/")[2])
    return any(fnmatchcase(name, pattern) for name in names for pattern in wanted)


def _uncovered(target: Destination) -> str:
    known = ", ".join(target.names[:3]) or str(target.address)
    if len(target.names) > 3:
        known += f" (and {len(target.names) - 3} more names)"
    port = f":{target.port}" if target.port is not None else ""
    return f"no allow entry covers {known}{port}/{target.protocol}"
