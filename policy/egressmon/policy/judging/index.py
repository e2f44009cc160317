"""Find the few entries of a long policy that a name or an address can match.

An index says which entries *may* match: all that do are among them. Whether one does is
then asked of the entry itself, so a new form of a pattern needs no change here.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class HostIndex:
    """The places of host patterns in a list, by the part that has no wildcard."""

    def __init__(self, patterns: Iterable[tuple[int, str]]) -> None:
        """Take (place, pattern) pairs; patterns are in canonical form."""
        self._exact: defaultdict[str, list[int]] = defaultdict(list)
        self._endings: defaultdict[str, list[int]] = defaultdict(list)
        for place, pattern in patterns:
            _, star, ending = pattern.rpartition("*")
            known = self._endings if star else self._exact
            known[ending.removeprefix(".")].append(place)

    def places(self, name: str) -> Iterator[int]:
        """Yield the places of all patterns that may cover `name`, in any order."""
        yield from self._exact.get(name, ())
        if self._endings:
            for ending in _endings(name):
                yield from self._endings.get(ending, ())


# What follows each of its dots, and last of all nothing: a wildcard may be at the end.
def _endings(name: str) -> Iterator[str]:
    _, dot, ending = name.partition(".")
    while dot:
        yield ending
        _, dot, ending = ending.partition(".")
    yield ""


class NetworkIndex:
    """The places of networks in a list, by their size and their first address."""

    def __init__(self, networks: Iterable[tuple[int, Network]]) -> None:
        """Take (place, network) pairs."""
        self._by_size: dict[tuple[int, int], dict[int, list[int]]] = {}
        for place, network in networks:
            bits = network.max_prefixlen - network.prefixlen
            known = self._by_size.setdefault((network.version, bits), {})
            first = int(network.network_address) >> bits
            known.setdefault(first, []).append(place)

    def places(self, address: Address) -> Iterator[int]:
        """Yield the places of all networks that `address` is in, in any order."""
        number, version = int(address), address.version
        for (family, bits), known in self._by_size.items():
            if family == version:
                yield from known.get(number >> bits, ())
