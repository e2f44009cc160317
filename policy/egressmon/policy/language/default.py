"""The policy of a run without a policy file: all but local traffic is a violation.

It has the attributes and defaults of `Policy` in model.py, but needs no pydantic: most
runs have no policy file, and importing pydantic is slow.
"""

from typing import Literal, NamedTuple


class Dns(NamedTuple):
    """Which resolvers may be asked, and for which names."""

    resolvers: Literal["system"] = "system"
    queries: Literal["allowlist"] = "allowlist"
    names: tuple[str, ...] = ()


class Local(NamedTuple):
    """What loopback connections may reach."""

    listeners: Literal["scope"] = "scope"


class Command(NamedTuple):
    """What the command itself may do."""

    allow_sudo: bool = False


class Accept(NamedTuple):
    """Who may connect to the command's own listeners."""

    sources: Literal["local"] = "local"


class Origins(NamedTuple):
    """What is judged of what a sidecar sees."""

    machine: Literal["judge"] = "judge"


class Guard(NamedTuple):
    """What is known of guards inside the processes."""

    functions: tuple[str, ...] = ()
    bypass: Literal["report"] = "report"


class Native(NamedTuple):
    """Which native code may be installed."""

    allow: tuple[()] = ()


class Layers(NamedTuple):
    """Which layers must be in place."""

    require: tuple[()] = ()


class Drift(NamedTuple):
    """How later runs are compared with a baseline."""

    baseline: None = None
    evidence: None = None
    max_age_days: int = 2
    bytes_orders: int = 1
    gone: Literal["drift"] = "drift"
    destination: Literal["drift"] = "drift"
    lookup: Literal["drift"] = "drift"
    package: Literal["drift"] = "drift"
    version: Literal["drift"] = "drift"
    module: Literal["drift"] = "drift"
    program: Literal["drift"] = "drift"
    route: Literal["drift"] = "drift"
    bypass: Literal["drift"] = "drift"
    guard: Literal["drift"] = "drift"
    resolver: Literal["drift"] = "drift"
    listener: Literal["drift"] = "drift"
    escape: Literal["drift"] = "drift"
    bytes: Literal["note"] = "note"
    blind_spot: Literal["note"] = "note"
    policy: Literal["note"] = "note"
    edited: Literal["drift"] = "drift"
    unreviewed: Literal["note"] = "note"
    tls: Literal["drift"] = "drift"
    violation: Literal["drift"] = "drift"


class Default(NamedTuple):
    """The default policy, with the attributes of model.py's `Policy`."""

    version: Literal[1] = 1
    enforce: Literal["report"] = "report"
    bypass: Literal["report"] = "report"
    allow: tuple[()] = ()
    deny: tuple[()] = ()
    dns: Dns = Dns()
    local: Local = Local()
    command: Command = Command()
    accept: Accept = Accept()
    origins: Origins = Origins()
    guard: Guard = Guard()
    layers: Layers = Layers()
    drift: Drift = Drift()
    native: Native = Native()


DEFAULT = Default()
