"""All reports are told of a run, whatever becomes of one of them."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

from egressmon import reports
from egressmon.cli.running import watch
from egressmon.reports.runs.interface import Report, tell_all
from egressmon.reports.runs.outcome import Outcome
from support.outcomes import outcome


class Kept:
    """Keeps what it is told, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[Outcome] = []
        self._error = error

    def tell(self, outcome: Outcome) -> None:
        self.told.append(outcome)
        if self._error is not None:
            raise self._error


def test_a_report_that_cannot_be_written_keeps_no_other_from_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    full, defect, last = Kept(OSError("no space")), Kept(ValueError("\x1b")), Kept()
    told = outcome()

    tell_all(told, [full, defect, last])

    assert full.told == defect.told == last.told == [told]
    said = capsys.readouterr().err
    assert said == "egressmon: a report failed: ValueError('\\x1b')\n"


def defined() -> set[str]:
    """Return every class of the room that is a report, with its module."""
    names: set[str] = set()
    for found in pkgutil.walk_packages(reports.__path__, f"{reports.__name__}."):
        module = importlib.import_module(found.name)
        for name, one in inspect.getmembers(module, inspect.isclass):
            here = one.__module__ == module.__name__ and one is not Report
            if here and hasattr(one, "tell"):
                names.add(f"{found.name.rpartition('.')[2]}.{name}")
    return names


def test_every_report_of_the_room_is_made_in_watch() -> None:
    source = Path(watch.__file__).read_text()

    for name in sorted(defined()):
        assert f"yield {name}(" in source, f"{name}: missing from cli/running/watch.py"
