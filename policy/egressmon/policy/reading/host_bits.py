"""Say which ranges of a policy file were written with an address inside them."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from egressmon.policy.language.model import Policy

_Place = tuple[str | int, ...]


def host_bits(table: dict[str, Any], policy: Policy) -> Iterator[tuple[_Place, str]]:
    """Yield where `table`, from which `policy` was made, has a range with host bits.

    Such as 10.0.0.1/8, of which 10.0.0.0/8 is taken; with each place a note for people.
    """
    for place, written, taken in _ranges(table, policy):
        address = written.partition("/")[0]
        if "/" in written and "/" in taken and not _is_start(address, taken):
            shown = "".join(
                f"[{part}]" if isinstance(part, int) else f".{part}" for part in place
            ).removeprefix(".")
            yield (
                place,
                f"{shown}: {written} is not the start of a range: {taken} counts",
            )


def _ranges(table: dict[str, Any], policy: Policy) -> Iterator[tuple[_Place, str, str]]:
    for key, entries in (("allow", policy.allow), ("deny", policy.deny)):
        for index, entry in enumerate(entries):
            if entry.cidr is not None:
                written = table[key][index]["cidr"]
                yield (key, index, "cidr"), written, entry.cidr
    sources = policy.accept.sources
    if not isinstance(sources, str):
        for index, taken in enumerate(sources):
            yield ("accept", "from", index), table["accept"]["from"][index], taken


def _is_start(address: str, taken: str) -> bool:
    return ip_address(address) == ip_network(taken).network_address
