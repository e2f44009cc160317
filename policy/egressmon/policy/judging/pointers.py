"""Names under which addresses are looked up (PTR), and the addresses in them."""

import ipaddress
import re
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_OCTET = r"(?:0|[1-9][0-9]{0,2})"
_INET = re.compile(rf"((?:{_OCTET}\.){{4}})in-addr\.arpa", re.ASCII)
_INET6 = re.compile(r"((?:[0-9a-f]\.){32})ip6\.arpa", re.ASCII)


def pointed_address(name: str) -> Address | None:
    """Return the address that the canonical `name` asks for the name of, or None.

    Only whole addresses in their one spelling count: RFC 1035 section 3.5, RFC 3596
    section 2.5.
    """
    try:
        if match := _INET.fullmatch(name):
            return ipaddress.IPv4Address(".".join(match[1].split(".")[3::-1]))
        if match := _INET6.fullmatch(name):
            return ipaddress.IPv6Address(int(match[1].replace(".", "")[::-1], 16))
    except ValueError:
        pass
    return None
