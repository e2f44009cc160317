"""Look for silence in a run that lasts: heartbeats that should be there."""

from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
BEATING = frozenset({"heartbeat", "gap", "restart"})
_SLACK_S = 10.0
"""As much later may one come on a machine that has much to do (`lasting/gaps.py`)."""


class Beats:
    """The heartbeats of one run, in their order."""

    def __init__(self) -> None:
        self._every_s: float | None = None
        self._last: str | None = None

    def begin(self, start: Json) -> None:
        """Note the first record of the run, which says how often one comes."""
        every_ms = start.get("heartbeat_ms")
        self._every_s = every_ms / 1000 if every_ms is not None else None
        self._last = start["time"]

    def forget(self) -> None:
        """Note that records are missing here."""
        self._last = None

    def take(self, record: Json) -> str | None:
        """Note a `heartbeat`, a `gap`, a `restart` or the end.

        Return which silence was before it, that no gap in the evidence tells of; None:
        there was none.
        """
        last, self._last = self._last, record["time"]
        if (
            record["type"] in {"gap", "restart"}
            or self._every_s is None
            or last is None
        ):
            return None
        silent_s = _second(record["time"]) - _second(last)
        if silent_s <= 2 * self._every_s + _SLACK_S:
            return None
        return f"a gap of {silent_s:.0f} s without a heartbeat"


# To the second: that is exact enough. The form of the text was checked before.
def _second(time: str) -> float:
    try:
        return datetime.fromisoformat(f"{time[:19]}+00:00").astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return 0.0
