"""The guard: an allowlist inside a Python process, enforced by audit hooks (PEP 578).

`EgressGuard.install()` refuses what the project's policy does not allow, with the rules
of `egressmon policy explain`. What is imported at an interpreter's start must be light:
nothing here imports more than `sys`, `os` and `_socket` until a destination is judged.
"""

from egressmon.guard.guard import EgressGuard
from egressmon.guard.violation import EgressViolation

TYPE_CHECKING = False  # as `typing` has it, which takes 7 ms to import
if TYPE_CHECKING:
    from egressmon.guard.destinations import HostName, HostPort

__all__ = ["EgressGuard", "EgressViolation", "HostName", "HostPort"]


def __getattr__(name: str) -> object:
    if name in {"HostName", "HostPort"}:
        from egressmon.guard import destinations  # noqa: PLC0415 -- regular expressions

        return getattr(destinations, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
