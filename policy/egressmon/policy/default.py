"""What holds where no policy file is found: all but local traffic is reported.

It reads as a `Policy` of model.py does, with the same defaults, and needs no pydantic,
which most runs would import for nothing.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from egressmon.policy.model import Allow


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


class Default(NamedTuple):
    """A whole policy that nobody wrote."""

    version: Literal[1] = 1
    enforce: Literal["report"] = "report"
    bypass: Literal["report"] = "report"
    allow: tuple["Allow", ...] = ()
    dns: Dns = Dns()
    local: Local = Local()
    command: Command = Command()
    accept: Accept = Accept()


DEFAULT = Default()
