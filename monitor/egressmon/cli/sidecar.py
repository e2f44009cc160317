"""`egressmon sidecar`: watch until stopped."""

from typing import NoReturn

from egressmon.cli.requests import SidecarRequest
from egressmon.errors import UsageError


def sidecar(request: SidecarRequest, arguments: list[str]) -> NoReturn:
    """Watch what `request` names until it is stopped, and return the exit status."""
    del request, arguments
    raise UsageError(
        "`egressmon sidecar` is not available yet",
        "`egressmon watch -- COMMAND` watches a command",
    )
