"""What used each allow entry: how often, and by which part of what it allows."""

from collections.abc import Iterable, Iterator

from egressmon.policy.judging.questions import Destination, Origin
from egressmon.policy.language.model import Allow
from egressmon.policy.language.names import covers
from egressmon.policy.language.search import SearchList
from egressmon.values import dataclass, field

_MAX = 1000  # of each kind, in an entry
_ICMP = {"icmpv6": "icmp"}


@dataclass(slots=True)
class Usage:
    """Who used one entry, and for what; sets hold 1,000 each, and one more if more."""

    connections: int = 0
    """Those that it is the first to cover."""
    besides: int = 0
    """Those that an earlier entry covers, too."""
    refused: int = 0
    """Those that it would allow if others made them, or in another way."""
    look_ups: int = 0
    looked_up: set[str] = field(default_factory=set[str])
    """The names that were asked for, where it is the first to cover them."""
    ports: set[int] = field(default_factory=set[int])
    protocols: set[str] = field(default_factory=set[str])
    addresses: set[str] = field(default_factory=set[str])
    names: frozenset[str] | None = None
    """The names that each use may have gone by; None: nothing used it."""
    packages: frozenset[str] | None = None
    """The packages, none of them a claim, that each connection was made by."""

    def connect(
        self, entry: Allow, target: Destination, origin: Origin, search: SearchList
    ) -> None:
        """Note a connection to `target` by `origin`, which `entry` covers first."""
        self.connections += 1
        self._reach(entry, target, search)
        proven = {
            one for one in origin.packages if origin.why_claimed("package", one) is None
        }
        self.packages = frozenset(proven) & (
            proven if self.packages is None else self.packages
        )

    def refuse(self, entry: Allow, target: Destination, search: SearchList) -> None:
        """Note a connection to `target` that `entry` covers, but for who made it."""
        self.refused += 1
        self._reach(entry, target, search)

    def _reach(self, entry: Allow, target: Destination, search: SearchList) -> None:
        if target.port is not None:
            _put(self.ports, target.port)
        _put(self.protocols, _ICMP.get(target.protocol, target.protocol))
        _put(self.addresses, str(target.address))
        self._go_by(entry, (*target.names, *target.origins), search)

    def look_up(self, entry: Allow, names: tuple[str, ...], search: SearchList) -> None:
        """Note a look-up of the first of `names`; it is an alias of the others."""
        self.look_ups += 1
        _put(self.looked_up, names[0])
        self._go_by(entry, names, search)

    def _go_by(self, entry: Allow, names: Iterable[str], search: SearchList) -> None:
        if entry.host is None:
            return
        found = frozenset(
            one for one in _spelt(names, search) if covers(entry.host, one)
        )
        self.names = found if self.names is None else self.names & found

    def point(self, address: str) -> None:
        """Note a look-up of the name of an `address` that the entry covers."""
        self.look_ups += 1
        _put(self.addresses, address)


def _spelt(names: Iterable[str], search: SearchList) -> Iterator[str]:
    for name in names:
        yield name
        yield from search.shorter(name)


def _put(known: set[str] | set[int], one: str | int) -> None:
    if len(known) <= _MAX:
        known.add(one)  # type: ignore[arg-type]
