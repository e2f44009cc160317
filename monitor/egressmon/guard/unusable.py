"""What is said where a policy cannot be used."""

import sys
from contextlib import suppress

from egressmon.guard.state import STATE
from egressmon.text import printable


def tell_unusable(path: str, problem: str) -> None:
    """Say once on standard error that every destination is refused, and why."""
    with STATE.lock:
        if ("unusable", path) in STATE.told:
            return
        STATE.told.add(("unusable", path))
    # There may be none, or nobody who reads it: all is refused all the same.
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(
            f"egressmon guard: {printable(path)}: {printable(problem, 500)}: every "
            "destination is refused\n"
        )
