"""The policy file as pydantic models: each table a frozen value, strictly checked."""

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from egressmon.policy.errors import RefusedError
from egressmon.policy.language.default import Default
from egressmon.policy.language.drift import Drift
from egressmon.policy.language.native import Native
from egressmon.policy.language.ports import ANY
from egressmon.policy.language.routes import Route
from egressmon.policy.language.tables import Table as _Table
from egressmon.policy.language.values import (
    Cidr,
    EntryPorts,
    GuardFunction,
    Host,
    NameToLookUp,
    Pattern,
    Protocol,
    Resolvers,
    Sources,
    Version,
)


class By(_Table):
    """Who may use an allow entry: each key that is present must match."""

    package: tuple[Pattern, ...] = Field(
        default=(),
        description="packages that own the calling module or its binding, by name",
        examples=[["grpcio"]],
    )
    exe: tuple[Pattern, ...] = Field(
        default=(),
        description='executables, by path; "*" stands for anything',
        examples=[["*/python3*"]],
    )
    module: tuple[Pattern, ...] = Field(
        default=(),
        description='calling modules or bindings, by path or by file name; "*" stands '
        "for anything",
        examples=[["*/libcurl.so.4"]],
    )
    route: tuple[Route, ...] = Field(
        default=(), description="how the connection left", examples=[["native"]]
    )
    claimed: bool = Field(
        default=False,
        description="also what the command could have made up in this run",
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.package or self.exe or self.module or self.route):
            raise RefusedError(
                "nothing to compare",
                "write at least one of package, exe, module and route",
            )
        return self


_PROTOCOL = "icmp is ICMP and ICMPv6, which have no ports; any is every protocol"


class _Rule(_Table):
    """What allow and deny entries share: a host name or an address range."""

    host: Host | None = Field(
        default=None,
        description='exact name; a label "*" stands for one label, and "**" at the '
        "front for one or more",
        examples=["example.org"],
    )
    cidr: Cidr | None = Field(
        default=None,
        description="an address or a range",
        examples=["192.0.2.0/24"],
    )
    ports: EntryPorts
    protocol: Protocol
    reason: str = Field(
        default="", description="shown in the evidence", examples=["why it is there"]
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.host is None and self.cidr is None:
            raise RefusedError(
                "neither host nor cidr is given",
                'write host = "example.org", or cidr = "192.0.2.0/24"',
            )
        if self.host is not None and self.cidr is not None:
            raise RefusedError(
                "host and cidr are both given",
                "write exactly one of them; for both, write two entries",
            )
        return self

    @model_validator(mode="after")
    def _no_ports_of_icmp(self) -> Self:
        if self.protocol == "icmp" and "ports" in self.model_fields_set:
            raise RefusedError("ICMP has no ports", "leave ports out")
        return self


class Allow(_Rule):
    """One reviewed destination: a host name or an address range, with ports."""

    ports: EntryPorts = Field(
        default=(443,), description='numbers and ranges ("8000-8100"), or "any"'
    )
    protocol: Protocol = Field(default="tcp", description=_PROTOCOL)
    by: By | None = Field(
        default=None, description="only connections that are attributed so"
    )


class Deny(_Rule):
    """A destination that is a violation whatever else allows it."""

    ports: EntryPorts = Field(
        default=ANY, description='numbers and ranges ("8000-8100"), or "any"'
    )
    protocol: Protocol = Field(default="any", description=_PROTOCOL)


class Dns(_Table):
    """Which resolvers may be asked, and for which names."""

    resolvers: Resolvers = Field(
        default="system",
        description='"system" (/etc/resolv.conf), or a list of addresses',
    )
    queries: Literal["allowlist", "any"] = Field(
        default="allowlist",
        description="only names that an allow entry covers, or any name",
    )
    names: tuple[NameToLookUp, ...] = Field(
        default=(),
        examples=[["example.org"]],
        description="names that may be looked up although nothing may connect there",
    )


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

    sources: Sources = Field(
        default="local",
        alias="from",
        description='"local": this machine alone; "any": everybody; or a list of '
        "addresses and ranges, beside this machine",
    )


class Origins(_Table):
    """What is judged of what a sidecar sees."""

    machine: Literal["judge", "record"] = Field(
        default="judge",
        description="record: what is neither of the job, nor of a container or its "
        "engine, is recorded, and no violation",
    )


class Guard(_Table):
    """What is known of guards inside the processes, and what passes them by."""

    functions: tuple[GuardFunction, ...] = Field(
        default=(),
        examples=[["pytest_socket:guarded_connect"]],
        description='functions of other guards, as "module:function": a connection '
        "with one on its Python stack went through it",
    )
    bypass: Literal["report", "violation"] = Field(
        default="report",
        description="violation: what leaves a guarded process around its guard is one, "
        "unless it stays on this machine",
    )


class Layers(_Table):
    """Where the policy must be enforced."""

    require: tuple[Literal["guard", "filter", "monitor", "drift"], ...] = Field(
        default=(),
        examples=[["guard", "monitor"]],
        description="layers without which `egressmon doctor` fails: the guard in the "
        "processes, the operating system's filter, the kernel's monitor, the nightly "
        "comparison with a baseline",
    )


class Policy(_Table):
    """A whole policy file."""

    version: Version = Field(examples=[1])
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
    origins: Origins = Origins()
    guard: Guard = Guard()
    layers: Layers = Layers()
    drift: Drift = Drift()
    native: Native = Native()


AnyPolicy: TypeAlias = Policy | Default
"""The policy of a run: of a file, or the default one."""
