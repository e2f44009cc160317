"""The phase of a run at a moment."""

import pytest

from egressmon.evidence.phases import Phases


def test_a_phase_is_that_of_the_moment() -> None:
    phases = Phases()
    phases.begin("one", 10)
    phases.end(20)
    phases.begin("two", 21)

    found = [phases.at(ktime) for ktime in (9, 10, 20, 21, 10**20)]
    assert found == [None, "one", "one", "two", "two"]


def test_a_phase_that_follows_at_once_has_the_moment() -> None:
    phases = Phases()
    phases.begin("one", 10)
    phases.end(10)
    phases.begin("two", 11)

    assert [phases.at(10), phases.at(11)] == ["one", "two"]


def test_marks_come_in_the_order_of_time() -> None:
    phases = Phases()
    phases.begin("one", 10)

    with pytest.raises(ValueError, match="before the last one"):
        phases.begin("two", 9)
