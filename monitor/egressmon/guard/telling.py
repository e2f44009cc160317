"""Log what was refused, once for each destination, and what the guard may not see."""

from typing import TYPE_CHECKING

from egressmon.guard.decisions import Decision
from egressmon.guard.masking import told
from egressmon.guard.state import STATE
from egressmon.text import printable

if TYPE_CHECKING:
    from logging import Logger

_LOGGER = "egressmon.guard"
_MAX_TOLD = 10_000


def log_refusal(decision: Decision) -> None:
    """Log `decision` at WARNING, unless its destination was logged before."""
    if _is_first(("refused", decision.kind == "lookup", decision.where)):
        _logger().warning(
            "refused: %s: %s (%s, by %s)",
            told(decision.where),
            told(decision.reason, 500),
            decision.kind,
            printable(decision.caller or "unknown code", 500),
        )


def log_child(decision: Decision) -> None:
    """Log what begins without the guard at INFO, once for each program."""
    if decision.verdict != "guarded child" and _is_first(
        (decision.verdict, decision.host)
    ):
        _logger().info(
            "%s: %s: %s", decision.verdict, printable(decision.host), decision.reason
        )


def _is_first(key: object) -> bool:
    with STATE.lock:
        if key in STATE.told or len(STATE.told) >= _MAX_TOLD:
            return False
        STATE.told.add(key)
    return True


# Imported when needed, as `logging` is slow.
def _logger() -> "Logger":
    import logging  # noqa: PLC0415 -- see above

    return logging.getLogger(_LOGGER)
