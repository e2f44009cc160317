"""Who did it: what the stage found out about a connection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from egressmon.events.model import Traffic
from egressmon.evidence.code_records import (
    ClaimRecord,
    CodeRecord,
    CodeStatus,
    ModuleRecord,
)

Language: TypeAlias = Literal["python", "node"]


@dataclass(frozen=True, slots=True)
class Ground:
    """A file that an attribution rests on, and what is known of it."""

    field: str
    """Of the record, such as module.caller."""
    path: str | None
    package: str | None
    package_claimed: str | None
    """Why its owner may be made up; None: it is not."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who did it, as far as it is known; reasons stand beside what is not."""

    module: ModuleRecord | None
    module_reason: str | None
    route: str
    route_reason: str | None
    bypass: bool | None
    grounds: tuple[Ground, ...] = ()
    """The caller and its binding."""
    claimed: tuple[ClaimRecord, ...] = ()
    """What of it the command could have made up in this run."""
    language: Language | None = None
    """Of the process."""
    code: CodeRecord | None = None
    code_status: CodeStatus = "unknown"
    code_reason: str | None = None


Attribute: TypeAlias = Callable[[Traffic], Attribution]
"""Says who made a flow or sent a packet."""


def unknown(reason: str) -> Attribution:
    """Return an attribution that knows nothing, for a reason."""
    return Attribution(None, reason, "unknown", reason, None, code_reason=reason)
