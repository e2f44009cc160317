"""Where an allow entry allows more than was used, and what would be enough."""

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from egressmon.auditing.usage import Usage
from egressmon.policy.language.model import Allow, By
from egressmon.policy.language.ports import parse_ports

_MAX_PORTS = 16
"""More different ones than these are no list that somebody would write."""
_PROTOCOLS = frozenset({"tcp", "udp", "sctp", "icmp"})


class Wider(NamedTuple):
    """A part of an entry that allows more than was used."""

    key: str
    text: str
    value: object
    """What the key would be; None: it would be left out."""


def wider(entry: Allow, usage: Usage) -> Iterator[Wider]:
    """Yield where `entry` allows more than its `usage`, which is some."""
    yield from _host(entry, usage)
    yield from _cidr(entry, usage)
    protocol = [*_protocol(entry, usage)]
    yield from protocol
    yield from _ports(entry, usage, is_icmp=usage.protocols == {"icmp"})


def maker(entry: Allow, usage: Usage) -> Wider | None:
    """Return that `entry` is open to all, if one package alone used it."""
    if entry.by is not None or not usage.packages or len(usage.packages) != 1:
        return None
    (package,) = usage.packages
    text = f"anybody may use it, and only the package {package} did"
    return Wider("by", text, By(package=(package,)))


def _host(entry: Allow, usage: Usage) -> Iterator[Wider]:
    host = entry.host
    if host is None or "*" not in host or not usage.names:
        return
    name = min(usage.names, key=lambda one: (len(one), one))
    yield Wider("host", f"it covers {host}, and only {name} was used", name)


def _cidr(entry: Allow, usage: Usage) -> Iterator[Wider]:
    if entry.cidr is None or len(usage.addresses) != 1:
        return
    network = ipaddress.ip_network(entry.cidr)
    (address,) = usage.addresses
    if network.num_addresses > 1:
        text = f"it covers {entry.cidr}, and only {address} was used"
        yield Wider("cidr", text, address)


def _protocol(entry: Allow, usage: Usage) -> Iterator[Wider]:
    if entry.protocol != "any" or len(usage.protocols) != 1:
        return
    (protocol,) = usage.protocols
    if protocol in _PROTOCOLS:
        text = f"it covers every protocol, and only {protocol} was used"
        yield Wider("protocol", text, protocol)


def _ports(entry: Allow, usage: Usage, *, is_icmp: bool) -> Iterator[Wider]:
    if entry.protocol == "icmp":
        return
    if is_icmp:  # which has none, and where none may be written
        yield from [Wider("ports", "no port was used", None)] * (
            "ports" in entry.model_fields_set and entry.protocol == "any"
        )
        return
    used = sorted(usage.ports)
    allowed = sum(high - low + 1 for low, high in parse_ports(entry.ports))
    if not 0 < len(used) <= _MAX_PORTS or len(used) >= allowed:
        return
    shown = entry.ports if isinstance(entry.ports, str) else list(entry.ports)
    which = ", ".join(map(str, used))
    text = f"it covers the ports {shown}, and only {which} {_were(used)} used"
    yield Wider("ports", text, tuple(used))


def _were(used: list[int]) -> str:
    return "was" if len(used) == 1 else "were"
