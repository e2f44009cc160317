"""The result of attribution: who made a connection."""

from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import Literal, TypeAlias

from egressmon.events.model import Traffic
from egressmon.evidence.records.code import (
    ClaimRecord,
    CodeRecord,
    CodeStatus,
    ModuleRecord,
)
from egressmon.values import dataclass, field

Language: TypeAlias = Literal["python", "node"]
_SERIALS = count(1)


@dataclass(frozen=True, slots=True)
class Ground:
    """A file that an attribution rests on, and its package."""

    field: str
    """The field of the record that names it, such as module.caller."""
    path: str | None
    package: str | None
    package_claimed: str | None
    """Why the command may have made the package up; None if it cannot have."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who made a connection; beside what is not known stands the reason."""

    module: ModuleRecord | None
    module_reason: str | None
    route: str
    route_reason: str | None
    bypass: bool | None
    grounds: tuple[Ground, ...] = ()
    """The files of the caller and of the binding."""
    claimed: tuple[ClaimRecord, ...] = ()
    """What of it the watched command could have made up in this run."""
    language: Language | None = None
    """The language that the process runs; None: neither, or not known."""
    code: CodeRecord | None = None
    code_status: CodeStatus = "unknown"
    code_reason: str | None = None
    guard: Literal["here", "ancestor"] | None = None
    """Where egressmon's guard was installed, as processes claim: in the process, or in
    one whose child it is, before it ran its program. None: in neither, or not known."""
    serial: int = field(default_factory=_SERIALS.__next__, compare=False, repr=False)
    """A number of its own, which a copy with other claims or code shares."""


Attribute: TypeAlias = Callable[[Traffic], Attribution]
"""Returns who made a flow or sent a packet."""


@lru_cache(maxsize=256)
def unknown(reason: str) -> Attribution:
    """Return the attribution of a call of which nothing is known, with the `reason`."""
    return Attribution(None, reason, "unknown", reason, None, code_reason=reason)
