"""Destinations as a plan names them: HOST, HOST:PORT, HOST:PORT/PROTOCOL.

HOST may be `any`. What no record can have is refused: `at_most = 0` of that would hold
whatever happens.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import cache

from egressmon.evidence.masking import could_be, is_masked, is_unclear, redacted
from egressmon.policy.errors import RefusedError, quoted
from egressmon.policy.language.names import canonical, covers, parse_host_pattern
from egressmon.values import dataclass

ANY = "any"
_PATTERN = re.compile(
    r"(?:\[(?P<inet6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]/]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?:/(?P<protocol>tcp|udp|sctp|icmp))?"
)
# The protocols of the records that a plan's word means.
_ICMP = "icmp"
_MEANT = {_ICMP: {_ICMP, "icmpv6"}}
_INSTEAD = {4: "127.0.0.1", 6: "[::1]"}
_HINT = "write HOST:PORT, an IPv6 address in brackets, or any"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which destinations are meant; None leaves it open."""

    host: str | None
    address: str | None
    port: int | None
    protocol: str | None

    @property
    def is_exact(self) -> bool:
        """Whether a connection can be made to it."""
        is_named = self.host is not None and "*" not in self.host
        return (is_named or self.address is not None) and self.port is not None

    @property
    def is_any(self) -> bool:
        """Whether it is all that leaves this machine."""
        return self.host is None and self.address is None

    def covers(
        self, names: Iterable[str], ip: str, port: int | None, protocol: str
    ) -> bool | None:
        """Tell whether a connection's peer is meant; `names` are as evidence has them.

        None: a name is masked or cut, and nobody can tell any more.
        """
        if not self._is_at(port, protocol):
            return False
        if self.address is not None:
            return ip == self.address
        host = self.host
        if host is None:
            return True
        found = {_is_covered(host, name) for name in names}
        return True if True in found else None if None in found else False

    def could_cover(self, port: int | None, protocol: str) -> bool:
        """Tell whether a peer is meant if it has another name that is not known."""
        return self.host is not None and self._is_at(port, protocol)

    def _is_at(self, port: int | None, protocol: str) -> bool:
        return self.port in {None, port} and self._is_of(protocol)

    def _is_of(self, protocol: str) -> bool:
        wanted = self.protocol
        return wanted is None or protocol in _MEANT.get(wanted, {wanted})


def refuse_masked(name: str) -> None:
    """Raise RefusedError if evidence would not have `name` as it is."""
    if is_masked(name):
        raise RefusedError(
            f"{quoted(redacted(name))} is masked in the evidence, as a part "
            "of it looks like a token",
            "write another name; for a destination, its address, or any",
        )


def _is_covered(host: str, name: str) -> bool | None:
    if not is_unclear(name):
        return covers(host, canonical(name))
    # A name that would be masked is no destination of a plan.
    if "*" not in host and "…" not in name:
        return False
    return could_be(canonical(name), host)


@cache
def parse_pattern(text: str) -> Pattern:
    """Return the destinations that `text` means; raises RefusedError."""
    match = _PATTERN.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or port == 0 or (port or 0) > 65535:
        raise RefusedError(f"{quoted(text)} is no destination", _HINT)
    protocol = match["protocol"]
    if protocol == _ICMP and port is not None:
        raise RefusedError(
            f"{quoted(text)} can never be seen: {_ICMP} has no ports",
            "write HOST/icmp",
        )
    host = match["inet6"] or match["host"]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = parse_host_pattern(host)
        refuse_masked(name)
        return Pattern(None if name == ANY else name, None, port, protocol)
    _require_possible(text, address)
    return Pattern(None, str(address), port, protocol)


# Records have an address as it leaves.
def _require_possible(
    text: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    mapped = address.ipv4_mapped if address.version == 6 else None
    if mapped is not None:
        raise RefusedError(
            f"{quoted(text)} can never be seen: records have the IPv4 address",
            f"write {mapped} in its place",
        )
    if address.is_unspecified:
        raise RefusedError(
            f"{quoted(text)} can never be seen: the kernel connects to this machine",
            f"write {_INSTEAD[address.version]} in its place",
        )
    if getattr(address, "scope_id", None) is not None:
        raise RefusedError(
            f"{quoted(text)} can never be seen: records have no device",
            "leave out its name",
        )
