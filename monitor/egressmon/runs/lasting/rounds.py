"""Canaries that are sent again and again, as long as a run lasts."""

import time
from collections.abc import Callable

from egressmon.evidence.records import Record
from egressmon.runs.session import Live
from egressmon.sensor.canary import Attempt, CanaryWatch
from egressmon.values import dataclass

_ROUND_S = 30.0


@dataclass(frozen=True, slots=True)
class _Round:
    attempts: list[Attempt]
    until: float  # in monotonic seconds


class Rounds:
    """Sends canaries, and records whether the probes saw them."""

    def __init__(
        self, live: Live, canaries: CanaryWatch, on_record: Callable[[Record], None]
    ) -> None:
        """`on_record` is called with each record, in order."""
        self._live = live
        self._canaries = canaries
        self._on_record = on_record
        self._round: _Round | None = None
        """The canaries that were sent and not yet recorded."""

    @property
    def is_waiting(self) -> bool:
        """Whether canaries were sent that are not yet recorded."""
        return self._round is not None

    def begin(self) -> None:
        """Send canaries; whether the probes see them, later events tell."""
        plan, attempts = self._live.keeper.send_canaries()
        self._canaries.begin(plan)
        self._round = _Round(attempts, time.monotonic() + _ROUND_S)

    def look(self, *, is_last: bool = False) -> None:
        """Record the canaries that were sent, once all are seen or it is too late."""
        if self._round is None:
            return
        attempts = self._round.attempts
        is_late = is_last or time.monotonic() >= self._round.until
        if not is_late and not self._canaries.has_seen(attempts):
            return
        self._round = None
        self._live.keeper.disarm()
        for record in self._live.sensor.prove("during", self._canaries, attempts):
            self._on_record(record)
