"""The values that a policy file's keys take, each checked and in one form."""

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
)

from egressmon.policy.errors import RefusedError, quoted
from egressmon.policy.language.names import is_host_name, parse_host_pattern
from egressmon.policy.language.ports import ANY, Ports, parse_ports

_MAX_FUNCTION = 256
_RANGES = "write 192.0.2.0/24, 2001:db8::/32, or a single address"
_ADDRESSES = "write an IPv4 or IPv6 address, such as 192.0.2.53"
_NAMES = 'only names are looked up: write them alone, such as "example.org"'


# With host bits (10.0.0.1/8) it is the range that it is in: host_bits.py says so.
def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise RefusedError(
            f"{quoted(text)} is no address and no range", _hint(text)
        ) from error
    _require_size(text, network)
    _require_plain(text, network.network_address, network.prefixlen)
    return str(network)


def _hint(text: str) -> str:
    is_name = "." in text and is_host_name(text.lower())
    ends = text.rpartition(".")[2].isalpha()
    return f"write host = {text!r}" if is_name and ends else _RANGES


# Python also reads a mask behind the slash, and one of hosts (0.0.0.255) as one of the
# network: what was meant must be seen in the file.
def _require_size(
    text: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> None:
    _, slash, size = text.partition("/")
    if not slash or size.isdecimal():
        return
    meant = _RANGES if size == "0.0.0.0" else f"write {network}"  # noqa: S104 -- a mask
    raise RefusedError(f"{quoted(text)}: a mask is not read", meant)


# The hint for an entry, to write a name as `host`, does not help in accept.from.
def _source(text: str) -> str:
    try:
        return _network(text)
    except RefusedError as error:
        hint = _RANGES if "host =" in error.hint else error.hint
        raise RefusedError(error.what, hint) from error


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        what = "is no single address" if "/" in text else "is no IP address"
        raise RefusedError(f"{quoted(text)} {what}", _ADDRESSES) from error
    _require_plain(text, address)
    return str(address)


# Peers have neither form in the evidence, so such an entry would cover nothing.
def _require_plain(
    text: str,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    prefix: int = 128,
) -> None:
    if address.version == 4:
        return
    if address.ipv4_mapped is not None:
        range_of = f"/{max(prefix - 96, 0)}" if prefix < 128 else ""
        plain = f"{address.ipv4_mapped}{range_of}"
        raise RefusedError(f"{quoted(text)} is judged as IPv4", f"write {plain}")
    if address.scope_id is not None:
        raise RefusedError(
            f"{quoted(text)}: a device is not judged", "leave out its name"
        )


# What helps in an allow entry, such as to write `cidr`, does not here.
def _name_to_look_up(text: str) -> str:
    try:
        return parse_host_pattern(text)
    except RefusedError as error:
        raise RefusedError(error.what, _NAMES) from error


# Even strict, Literal[1] accepts whatever equals 1, such as True and 1.0.
def _version(value: object) -> object:
    if type(value) is not int:
        raise RefusedError("not the number 1", "write version = 1")
    if value != 1:
        raise RefusedError(
            f"this egressmon reads version 1, not {value:d}"[:80],
            "write version = 1, or use an egressmon that knows the other",
        )
    return value


# pydantic would try the word and the list in turn, and name what is wrong with either.
def _word_or_list(
    words: tuple[str, ...], one: Callable[[str], str], hint: str
) -> BeforeValidator:
    known = " or ".join(f'"{word}"' for word in words)

    def check(value: object) -> object:
        if value == ():
            raise RefusedError("an empty list names nothing", hint)
        if isinstance(value, tuple):
            listed = enumerate(cast("tuple[object, ...]", value))
            return tuple(_item(index, item, one, hint) for index, item in listed)
        if value not in words:
            raise RefusedError(f"neither {known} nor a list", hint)
        return value

    return BeforeValidator(check)


def _item(index: int, item: object, one: Callable[[str], str], hint: str) -> str:
    if not isinstance(item, str):
        raise RefusedError(f"[{index}]: not a text in quotes", hint)
    try:
        return one(item)
    except RefusedError as error:
        raise RefusedError(f"[{index}]: {error.what}", error.hint) from error


def _checked_ports(value: Ports) -> Ports:
    parse_ports(value)
    return value


Version = Annotated[Literal[1], BeforeValidator(_version)]
Host = Annotated[str, AfterValidator(parse_host_pattern)]
NameToLookUp = Annotated[str, AfterValidator(_name_to_look_up)]
Cidr = Annotated[str, AfterValidator(_network)]
Resolvers = Annotated[
    Literal["system"] | tuple[str, ...],
    _word_or_list(
        ("system",),
        _address,
        'write resolvers = "system", or resolvers = ["192.0.2.53"]',
    ),
]
Sources = Annotated[
    Literal["local", "any"] | tuple[str, ...],
    _word_or_list(
        ("local", "any"),
        _source,
        'write from = "local", from = "any", or from = ["192.0.2.0/24"]',
    ),
]
_ONE_PORT = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 65535},
        {"type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$"},
    ]
}
EntryPorts = Annotated[
    Ports,
    PlainValidator(_checked_ports),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": ANY},
                {"type": "array", "minItems": 1, "items": _ONE_PORT},
            ]
        }
    ),
]
# As modules and functions are called in Python, such as a.b:Class.method.
_FUNCTION = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def _guard_function(text: str) -> str:
    if len(text) > _MAX_FUNCTION or not _FUNCTION.fullmatch(text):
        raise RefusedError(
            f"{quoted(text)} names no function",
            'write "module:function", such as "pytest_socket:guarded_connect"',
        )
    return text


GuardFunction = Annotated[str, AfterValidator(_guard_function)]
Protocol: TypeAlias = Literal["tcp", "udp", "sctp", "icmp", "any"]
Pattern = Annotated[str, Field(min_length=1)]
