"""What all reports have in common."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from egressmon.reports.runs.outcome import Outcome
from egressmon.text import printable


class Report(Protocol):
    """One way to tell people, or their tools, how a run went."""

    def tell(self, outcome: Outcome) -> None:
        """Write the report. Raises OSError, which does not change the exit status."""


def tell_all(outcome: Outcome, reports: Iterable[Report]) -> None:
    """Write all reports; one that fails keeps no other from it, and changes no status.

    Why it failed is said on standard error, unless it could only not be written.
    """
    for report in reports:
        try:
            report.tell(outcome)
        except OSError:
            continue
        except Exception as error:  # noqa: BLE001 -- the evidence is already written
            with suppress(OSError):
                sys.stderr.write(
                    f"egressmon: a report failed: {printable(repr(error))}\n"
                )
