"""Who did it: what the stage found out about a connection."""

from dataclasses import dataclass

from egressmon.attribution.calls import Language
from egressmon.attribution.records import CodeRecord, CodeStatus, ModuleRecord


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who did it, as far as it is known; reasons stand beside what is not."""

    module: ModuleRecord | None
    module_reason: str | None
    route: str
    route_reason: str | None
    bypass: bool | None
    files: tuple[str, ...] = ()
    """Paths of the caller and of its binding."""
    packages: tuple[str, ...] = ()
    """Names of the packages that own them."""
    language: Language | None = None
    """Of the process."""
    code: CodeRecord | None = None
    code_status: CodeStatus = "unknown"
    code_reason: str | None = None


def unknown(reason: str) -> Attribution:
    """Return an attribution that knows nothing, for a reason."""
    return Attribution(None, reason, "unknown", reason, None, code_reason=reason)
