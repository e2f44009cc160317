"""A policy's entries, allowing or denying: which one covers a destination, and why."""

import ipaddress
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from egressmon.policy.judging.index import HostIndex, NetworkIndex
from egressmon.policy.judging.pointers import Address
from egressmon.policy.judging.questions import Destination, Origin
from egressmon.policy.language.names import covers
from egressmon.policy.language.ports import parse_ports
from egressmon.values import dataclass

if TYPE_CHECKING:
    from egressmon.policy.language.model import Allow, By, Deny

_ICMP = frozenset({"icmp", "icmpv6"})


@dataclass(frozen=True, slots=True)
class Spelt:
    """A name as it may have been asked for, and how a reason shows it."""

    text: str
    shown: str
    is_exact: bool = False
    """Whether only an entry without wildcards covers it."""


class Entries:
    """Entries of the policy in their order, found by names and addresses."""

    def __init__(self, table: str, listed: "Iterable[Allow | Deny]") -> None:
        """Take the entries of the policy's `table`: `allow` or `deny`."""
        rules = tuple(listed)
        self._all = tuple(
            Entry(f"{table}[{place}]", one) for place, one in enumerate(rules)
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
        self, address: Address | None, names: Iterable[Spelt]
    ) -> Iterator["Entry"]:
        """Yield, in order, all entries that may cover the address or one of the names.

        It takes about as long in a list of thousands as in one of ten.
        """
        places = set[int]()
        if address is not None:
            places.update(self._networks.places(address))
        for name in names:
            places.update(self._hosts.places(name.text))
        return (self._all[place] for place in sorted(places))


class Entry:
    """One entry of the policy."""

    def __init__(self, name: str, rule: "Allow | Deny") -> None:
        """`name` is how verdicts call it, such as `allow[0]`."""
        self.name = name
        self._rule = rule
        self._ports = parse_ports(rule.ports)
        self._network = ipaddress.ip_network(rule.cidr) if rule.cidr else None

    def covering(self, names: Iterable[Spelt]) -> Spelt | None:
        """Return the first of `names` that the entry's host covers."""
        host = self._rule.host
        if host is None:
            return None
        is_wild = "*" in host
        for name in names:
            if not (is_wild and name.is_exact) and covers(host, name.text):
                return name
        return None

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

    def allows(self, target: Destination, names: Iterable[Spelt]) -> str | None:
        """Return why the entry covers `target`, known as `names`; None: it doesn't."""
        rule = self._rule
        if not self.is_open_to(target):
            return None
        matched = self._matched(target, names)
        if matched is None:
            return None
        return f"{matched}: {rule.reason}" if rule.reason else matched

    def is_open_to(self, target: Destination) -> bool:
        """Tell whether the entry is about the target's port and protocol."""
        protocol = "icmp" if target.protocol in _ICMP else target.protocol
        if self._rule.protocol not in {"any", protocol}:
            return False
        return target.port is None or _is_within(target.port, self._ports)

    def _matched(self, target: Destination, names: Iterable[Spelt]) -> str | None:
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
