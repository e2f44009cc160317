"""`HostName` and `HostPort`: destinations as people write them, validated."""

import ipaddress
import re
from typing import Self, TypeAlias

from egressmon.policy.errors import RefusedError, quoted
from egressmon.policy.language.names import parse_host_pattern
from egressmon.values import dataclass

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST_PORT = re.compile(
    r"(?:\[(?P<inet6>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})"
    r"(?:/(?P<protocol>tcp|udp|sctp))?",
    re.ASCII,
)
_HINT = "write HOST:PORT, such as api.example.org:443 or [2001:db8::1]:443"


class HostName(str):
    """A host name in canonical form: lower case, A-labels (IDNA), no final dot.

    To make one of anything else raises ValueError: a URL, a path, a port, an address, a
    wildcard.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Validate `text`."""
        name = parse_host_pattern(text)
        if "*" in name:
            raise RefusedError(f"{quoted(text)} has a wildcard", "name one host")
        return super().__new__(cls, name)


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host, by its name or its address, and a port there."""

    host: HostName | Address
    port: int
    protocol: str = "tcp"

    @classmethod
    def parse(cls, text: object) -> "HostPort":
        """Return what `text` names: HOST:PORT, with /udp or /sctp behind it if not TCP.

        Raises ValueError.
        """
        match = _HOST_PORT.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise RefusedError(f"{quoted(str(text))} is no destination", _HINT)
        port = int(match["port"])
        if not 0 < port < 1 << 16:
            raise RefusedError(f"{quoted(str(text))}: {port} is no port", _HINT)
        return cls(
            _host(match["inet6"] or match["host"], is_inet6=match["inet6"] is not None),
            port,
            match["protocol"] or "tcp",
        )

    def __str__(self) -> str:
        text = str(self.host)
        host = f"[{text}]" if ":" in text else text
        rest = "" if self.protocol == "tcp" else f"/{self.protocol}"
        return f"{host}:{self.port}{rest}"


def _host(text: str, *, is_inet6: bool) -> HostName | Address:
    try:
        return plain(ipaddress.ip_address(text))
    except ValueError:
        if is_inet6:
            raise RefusedError(f"{quoted(text)} is no IPv6 address", _HINT) from None
        return HostName(text)


_LOOPBACK: dict[int, Address] = {
    4: ipaddress.ip_address("127.0.0.1"),
    6: ipaddress.ip_address("::1"),
}


def plain(address: Address) -> Address:
    """Return `address` as it leaves: IPv4 if it is mapped, and without a device.

    To connect to no address in particular is to connect to this machine.
    """
    if address.version == 6:
        address = address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return _LOOPBACK[address.version] if address.is_unspecified else address
