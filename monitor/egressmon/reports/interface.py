"""What all reports have in common."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from egressmon.reports.outcome import Outcome


class Report(Protocol):
    """One way to tell people, or their tools, how a run went."""

    def tell(self, outcome: Outcome) -> None:
        """Write the report. Raises OSError, which does not change the exit status."""


def tell_all(outcome: Outcome, reports: Iterable[Report]) -> None:
    """Write all reports; one that fails does not keep the others from being written."""
    for report in reports:
        with suppress(OSError):
            report.tell(outcome)
