"""Judge one destination against a policy: a pure function that looks nothing up."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias

from egressmon.policy.index import HostIndex, NetworkIndex
from egressmon.policy.names import canonical, covers
from egressmon.policy.pointers import Address, pointed_address
from egressmon.policy.ports import parse_ports

if TYPE_CHECKING:
    from egressmon.policy.model import Allow, AnyPolicy, By, Deny

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
    origins: tuple[str, ...] = ()
    """Names of which `names` are aliases: what covers them covers these, too."""
    targets: tuple[str, ...] = ()
    """Names that `names` are aliases for: what denies them denies these, too."""
    translated: "Destination | None" = None
    """Where it really goes, if this machine sends it elsewhere (NAT)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run knows of a name that is looked up."""

    origins: tuple[str, ...] = ()
    """Names of which it is an alias, by the answers about them."""
    is_learned: bool = False
    """It asks for the name of an address (PTR) which the run learned by a name."""


_NOTHING = Asked()


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
        self._allowed = _Entries("allow", policy.allow)
        self._denied = _Entries("deny", policy.deny)
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
        names = self._spelt((*target.names, *target.origins, *target.targets))
        if denied := self._denial(target, names):
            return denied
        if target.translated and (denied := self._denial(target.translated, ())):
            return denied
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

    def _denial(
        self, target: Destination, names: tuple["_Spelt", ...]
    ) -> Verdict | None:
        for entry in self._denied.near(target.address, names):
            if (why := entry.allows(target, names)) is not None:
                return Verdict("violation", entry.name, f"denied: {why}")
        return None

    def _destination(self, target: Destination, origin: Origin) -> Verdict:
        mismatch: str | None = None
        names = self._spelt((*target.names, *target.origins))
        for entry in self._allowed.near(target.address, names):
            if why := entry.allows(target, names):
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

    def query(self, name: str, resolver: Address, asked: Asked = _NOTHING) -> Verdict:
        """Return the verdict on a DNS query for `name` that is sent to `resolver`.

        `asked` is what the run knows of that name by now.
        """
        if resolver not in self.resolvers:
            why = f"{resolver} is not a trusted resolver"
            return Verdict("violation", "dns.resolvers", why)
        name = canonical(name)
        spelt = self._spelt((name,))
        for entry in self._denied.near(None, spelt):
            if entry.covering(spelt):
                return Verdict("violation", entry.name, "a deny entry covers it")
        if self.policy.dns.queries == "any":
            return Verdict("allowed", "dns.queries", "any name may be looked up")
        if (verdict := self._named((name,))) is not None:
            return verdict
        if (verdict := self._named(asked.origins)) is not None:
            why = f"an answer about {asked.origins[0]} led to it, and {verdict.reason}"
            return Verdict("allowed", verdict.rule, why)
        return self._otherwise(name, asked)

    def _named(self, names: tuple[str, ...]) -> Verdict | None:
        spelt = self._spelt(names)
        for entry in self._allowed.near(None, spelt):
            if entry.covering(spelt):
                return Verdict("allowed", entry.name, "an allow entry covers it")
        for one in spelt:
            if self._is_listed(one.text):
                return Verdict("allowed", "dns.names", "listed under dns.names")
        return None

    # The name of an address says nothing that connecting there would not say.
    def _otherwise(self, name: str, asked: Asked) -> Verdict:
        if name == "localhost" or name.endswith(".localhost"):
            return Verdict("allowed", None, "localhost (RFC 6761)")
        address = pointed_address(name)
        if address is not None:
            for entry in self._allowed.near(address, ()):
                if entry.contains(address):
                    return Verdict("allowed", entry.name, f"{address} may be reached")
            if asked.is_learned:
                return Verdict("allowed", None, f"{address} is of a name that is known")
        return Verdict("violation", None, f"no allow entry covers {name}")

    def _is_listed(self, name: str) -> bool:
        patterns = self.policy.dns.names
        return any(covers(patterns[place], name) for place in self._names.places(name))

    # A resolver library also asks for a short name below each search domain: so each
    # name below one may have been asked for without it.
    def _spelt(self, names: Iterable[str]) -> tuple["_Spelt", ...]:
        found = [_Spelt(name, name) for name in names]
        for name in tuple(one.text for one in found):
            for domain in self._search:
                short = name.removesuffix("." + domain)
                if short != name:
                    found.append(_Spelt(short, f"{short} ({name})"))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Spelt:
    """A name as it may have been asked for, and how a reason shows it."""

    text: str
    shown: str


class _Entries:
    """Entries of the policy in their order, found by names and addresses."""

    def __init__(self, table: str, listed: "Iterable[Allow | Deny]") -> None:
        """Take the entries of the policy's `table`: `allow` or `deny`."""
        rules = tuple(listed)
        self._all = tuple(
            _Entry(f"{table}[{place}]", one) for place, one in enumerate(rules)
        )
        self._hosts = HostIndex(
            (place, one.host) for place, one in enumerate(rules) if one.host is not None
        )
        self._networks = NetworkIndex(
            (place, ipaddress.ip_network(one.cidr))
            for place, one in enumerate(rules)
            if one.cidr
        )

    def near(
        self, address: Address | None, names: Iterable["_Spelt"]
    ) -> Iterator["_Entry"]:
        """Yield, in order, all entries that may cover the address or one of the names.

        It takes about as long in a list of thousands as in one of ten.
        """
        places = set[int]()
        if address is not None:
            places.update(self._networks.places(address))
        for name in names:
            places.update(self._hosts.places(name.text))
        return (self._all[place] for place in sorted(places))


class _Entry:
    def __init__(self, name: str, rule: "Allow | Deny") -> None:
        self.name = name
        self._rule = rule
        self._ports = parse_ports(rule.ports)
        self._network = ipaddress.ip_network(rule.cidr) if rule.cidr else None

    def covering(self, names: Iterable[_Spelt]) -> _Spelt | None:
        """Return the first of `names` that the entry's host covers."""
        host = self._rule.host
        if host is None:
            return None
        return next((name for name in names if covers(host, name.text)), None)

    def contains(self, address: Address | None) -> bool:
        """Tell whether the entry's range has `address`."""
        return (
            self._network is not None
            and address is not None
            and address in self._network
        )

    def differs(self, origin: Origin) -> str | None:
        """Return why the entry's `by` does not admit `origin`, or None if it does."""
        by: By | None = getattr(self._rule, "by", None)
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

    def allows(self, target: Destination, names: Iterable[_Spelt]) -> str | None:
        """Return why the entry covers `target`, known as `names`; None: it doesn't."""
        rule = self._rule
        if target.protocol in _PORTLESS:
            if rule.protocol != "any":
                return None
        elif rule.protocol not in {"any", target.protocol}:
            return None
        if target.port is not None and not _is_within(target.port, self._ports):
            return None
        matched = self._matched(target, names)
        if matched is None:
            return None
        return f"{matched}: {rule.reason}" if rule.reason else matched

    def _matched(self, target: Destination, names: Iterable[_Spelt]) -> str | None:
        if self.contains(target.address):
            return f"{target.address} in {self._network}"
        name = self.covering(names)
        return f"{name.shown} matches {self._rule.host}" if name else None


def _is_within(port: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(low <= port <= high for low, high in ranges)


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
