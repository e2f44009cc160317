"""The policy file as pydantic models: each table a frozen value, strictly checked."""

import ipaddress
from typing import Annotated, Literal, Self, TypeAlias, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from egressmon.policy.default import Default
from egressmon.policy.names import parse_host_pattern
from egressmon.policy.ports import ANY, Ports, parse_ports
from egressmon.policy.routes import Route


# With host bits (10.0.0.1/8) it is the range that it is in: notes.py says so.
def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        hint = "write 192.0.2.0/24, 2001:db8::/32, or a single address"
        raise ValueError(f"{text!r}: {error}; {hint}") from error
    _require_plain(text, network.network_address, network.prefixlen)
    return str(network)


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an IP address") from error
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
        raise ValueError(f"{text!r} is judged as IPv4; write {plain}")
    if address.scope_id is not None:
        raise ValueError(f"{text!r}: a device is not judged; leave out its name")


# Even strict, Literal[1] accepts whatever equals 1, such as True and 1.0.
def _integer(value: object) -> object:
    if type(value) is not int:
        raise ValueError("write the integer 1")
    return value


Version = Annotated[Literal[1], BeforeValidator(_integer)]
Host = Annotated[str, AfterValidator(parse_host_pattern)]
Cidr = Annotated[str, AfterValidator(_network)]
Address = Annotated[str, AfterValidator(_address)]


def _checked_ports(value: Ports) -> Ports:
    parse_ports(value)
    return value


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


class _Table(BaseModel):
    """A table of the file. Types are strict: `"yes"` and `1` are no booleans.

    The one conversion is from list to tuple, since TOML has no tuples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_as_tuples(cls, table: object) -> object:
        if not isinstance(table, dict):
            return table
        items = cast("dict[str, object]", table).items()
        return {
            key: tuple(cast("list[object]", value))
            if isinstance(value, list)
            else value
            for key, value in items
        }


Pattern = Annotated[str, Field(min_length=1)]


class By(_Table):
    """Who may use an allow entry: each key that is present must match."""

    package: tuple[Pattern, ...] = Field(
        default=(),
        description="packages that own the calling module or its binding, by name",
    )
    exe: tuple[Pattern, ...] = Field(
        default=(), description='executables, by path; "*" stands for anything'
    )
    module: tuple[Pattern, ...] = Field(
        default=(),
        description='calling modules or bindings, by path or by file name; "*" stands '
        "for anything",
    )
    route: tuple[Route, ...] = Field(default=(), description="how the connection left")
    claimed: bool = Field(
        default=False,
        description="also what the command could have made up in this run",
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.package or self.exe or self.module or self.route):
            hint = "write at least one of package, exe, module and route"
            raise ValueError(f"nothing to compare; {hint}")
        return self


class _Rule(_Table):
    """What allow and deny entries share: a host name or an address range."""

    host: Host | None = Field(
        default=None,
        description='exact name; a label "*" stands for one label, and "**" at the '
        "front for one or more",
    )
    cidr: Cidr | None = Field(default=None, description="an address or a range")

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.host is None) == (self.cidr is None):
            raise ValueError("write exactly one of host and cidr")
        return self


class Allow(_Rule):
    """One reviewed destination: a host name or an address range, with ports."""

    ports: EntryPorts = Field(
        default=(443,), description='numbers and ranges ("8000-8100"), or "any"'
    )
    protocol: Literal["tcp", "udp", "any"] = "tcp"
    reason: str = Field(default="", description="shown in the evidence")
    by: By | None = Field(
        default=None, description="only connections that are attributed so"
    )


class Deny(_Rule):
    """A destination that is a violation whatever else allows it."""

    ports: EntryPorts = Field(
        default=ANY, description='numbers and ranges ("8000-8100"), or "any"'
    )
    protocol: Literal["tcp", "udp", "any"] = "any"
    reason: str = Field(default="", description="shown in the evidence")


class Dns(_Table):
    """Which resolvers may be asked, and for which names."""

    resolvers: Literal["system"] | tuple[Address, ...] = Field(
        default="system",
        description='"system" (/etc/resolv.conf), or a list of addresses',
    )
    queries: Literal["allowlist", "any"] = Field(
        default="allowlist",
        description="only names that an allow entry covers, or any name",
    )
    names: tuple[Host, ...] = Field(
        default=(),
        description="names that may be looked up although nothing may connect there",
    )

    @field_validator("resolvers")
    @classmethod
    def _some_resolver(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if value == ():
            raise ValueError('an empty list; write "system" or list addresses')
        return value


class Local(_Table):
    """What loopback connections may reach."""

    listeners: Literal["scope", "any", "deny"] = Field(
        default="scope",
        description="only listeners inside the scope, any listener, or none "
        "without an allow entry",
    )


class Command(_Table):
    """What the command itself may do."""

    allow_sudo: bool = Field(
        default=False,
        description="whether sudo and the like work in the command although violations "
        "fail the run; what is root can hide from it",
    )


class Accept(_Table):
    """Who may connect to the command's own listeners."""

    sources: Literal["local", "any"] | tuple[Cidr, ...] = Field(
        default="local",
        alias="from",
        description='"local": this machine alone; "any": everybody; or a list of '
        "addresses and ranges, beside this machine",
    )

    @field_validator("sources")
    @classmethod
    def _some_source(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if value == ():
            raise ValueError('an empty list; write "local" or list ranges')
        return value


class Policy(_Table):
    """A whole policy file."""

    version: Version
    enforce: Literal["report", "fail"] = Field(
        default="report",
        description="report: exit with the command's status; fail: with 120 "
        "when there were violations",
    )
    bypass: Literal["report", "violation"] = Field(
        default="report",
        description="violation: what leaves a Python or Node process past its own "
        "sockets is one, unless it stays on this machine",
    )
    allow: tuple[Allow, ...] = ()
    deny: tuple[Deny, ...] = Field(
        default=(), description="what is a violation whatever allow says"
    )
    dns: Dns = Dns()
    local: Local = Local()
    command: Command = Command()
    accept: Accept = Accept()


AnyPolicy: TypeAlias = Policy | Default
"""The policy of a run: of a file, or the default one."""
