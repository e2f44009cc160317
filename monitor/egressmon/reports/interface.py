"""What all reports have in common."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from egressmon.reports.outcome import Outcome


class Report(Protocol):
    """One way of telling people, or their tools, how a run went."""

    def tell(self, outcome: Outcome) -> None:
        """Write the report. OSError: it could not be written; no status hangs on it."""


def tell_all(outcome: Outcome, reports: Iterable[Report]) -> None:
    """Have each report written, whatever becomes of the others."""
    for report in reports:
        with suppress(OSError):
            report.tell(outcome)
