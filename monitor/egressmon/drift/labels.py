"""Whatever evidence says, as short texts of one line, equal in each run."""

import ipaddress
from typing import Any, cast

from blake3 import blake3

from egressmon.drift.model import UNKNOWN
from egressmon.policy.judging.pointers import pointed_address
from egressmon.text import printable

Json = dict[str, Any]
_LONGEST = 300
_DIGITS = 8
NO_FILE = "code in no file"
"""Stands for a module's file."""
_WORDS = frozenset({UNKNOWN, NO_FILE})
_V4, _V6 = 24, 48
"""How much of an address without a name tells its network."""
_NAT64 = (
    ipaddress.ip_network("64:ff9b::/96"),
    ipaddress.ip_network("64:ff9b:1::/48"),
)
"""All of IPv4 is in each, as the last 32 bits (RFC 6052, RFC 8215)."""


def text_of(value: object) -> str:
    """Return `value` as one line of some 300 characters; others stay others."""
    text = printable(value, _LONGEST * 4)
    if len(text) <= _LONGEST:
        return text
    digest = blake3(str(value).encode(errors="surrogatepass")).hexdigest()[:_DIGITS]
    return f"{text[:_LONGEST]}…{digest}"


def table(value: object) -> Json:
    """Return `value` if it is a JSON object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """Return `value` if it is a JSON list, else an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def network_of(address: object) -> str:
    """Return the network of an address, of which one is as good as the other.

    /24 of IPv4 and /48 of IPv6, the smallest that are routed; loopback as one. Raises
    ValueError.
    """
    one = ipaddress.ip_address(str(address).partition("%")[0])
    if one.version == 6 and one.ipv4_mapped is not None:
        one = one.ipv4_mapped
    if one.is_loopback:
        return "127.0.0.0/8" if one.version == 4 else "::1/128"
    size = _V4 if one.version == 4 else _V6
    if any(one in network for network in _NAT64):
        size = 128 - 32 + _V4
    return str(ipaddress.ip_network((one, size), strict=False))


def look_up_of(name: str) -> str:
    """Return what was asked: of an address's name, the network of that address."""
    address = pointed_address(name)
    if address is None:
        return "unknown." if name == UNKNOWN else text_of(name) or "."
    return f"the name of an address in {network_of(address)}"


def package_of(holder: object) -> tuple[str, str] | None:
    """Return the package in a file or code record, as `kind:name`, and its version."""
    found = table(table(holder).get("package"))
    if not found:
        return None
    label = f"{found.get('kind') or UNKNOWN}:{found.get('name') or UNKNOWN}"
    return text_of(label), text_of(found.get("version") or UNKNOWN)


def base_name(path: object) -> str:
    """Return the last part of a path, or "" for none.

    `./` is before one that reads as words for what is not known.
    """
    name = text_of(str(path).rpartition("/")[2]) if path else ""
    return f"./{name}" if name in _WORDS else name
