"""What a policy is asked about: a connection's destination and origin, or a name."""

from typing import Literal, TypeAlias

from egressmon.policy.judging.pointers import Address
from egressmon.values import dataclass

Listener: TypeAlias = Literal["scope", "nobody", "outside", "unknown"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """One fact about an origin that the command could have made up in this run."""

    what: Literal["exe", "module", "package", "route"]
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Who makes a connection, as far as it is known; unknown facts match no entry."""

    exe: str | None = None
    modules: tuple[str, ...] = ()
    """Paths of the calling module and of its binding."""
    packages: tuple[str, ...] = ()
    """Names of the packages that own them."""
    route: str = "unknown"
    route_reason: str | None = None
    bypass: bool | None = None
    """Whether the connection bypasses the language's own sockets; None: unknown."""
    guard: str | None = None
    """Whether it went through a guard in its process: a GuardState; None: no guard is
    asked."""
    guard_reason: str | None = None
    claimed: tuple[Claimed, ...] = ()
    """Which of the facts above the command could have made up."""

    def why_claimed(self, what: str, value: str) -> str | None:
        """Return why the fact (`what`, `value`) is a claim, or None if it is not."""
        for one in self.claimed:
            if (one.what, one.value) == (what, value):
                return one.why
        return None


NOBODY = Origin()


@dataclass(frozen=True, slots=True)
class Destination:
    """What a connection reaches, as far as it is known.

    `address` is None for names that were not looked up.
    `listener` says who receives there if it is this machine; None: another machine.
    `port` is None if the protocol has no ports.
    """

    address: Address | None
    port: int | None
    protocol: str
    names: tuple[str, ...] = ()
    listener: Listener | None = None
    origins: tuple[str, ...] = ()
    """Names of which `names` are aliases: what covers them covers these, too."""
    targets: tuple[str, ...] = ()
    """Names that `names` are aliases for: what denies them denies these, too."""
    absent: tuple[str, ...] = ()
    """Names that `names` may have been completed from, and that do not exist."""
    translated: "Destination | None" = None
    """Where it really goes, if this machine sends it elsewhere (NAT)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run knows of a name that is looked up."""

    origins: tuple[str, ...] = ()
    """Names of which it is an alias, by the answers about them."""
    is_learned: bool = False
    """It asks for the name of an address (PTR) which the run learned by a name."""
