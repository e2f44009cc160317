"""Which processes are of a lineage, as /proc has them."""

from egressmon.sensor.lineage_scope import Lineage, Seen, members

SEEN = {
    1: Seen(0, 1, 10),
    10: Seen(1, 10, 100),
    11: Seen(10, 10, 110),
    12: Seen(11, 12, 120),
    20: Seen(1, 20, 200),
    21: Seen(20, 20, 210),
    30: Seen(1, 10, 300),
}


def test_a_process_is_there_with_what_it_has_started() -> None:
    assert members(Lineage("", ((10, 100),)), SEEN) == [10, 11, 12]
    assert members(Lineage("", ((12, 120),)), SEEN) == [12]


def test_another_process_by_its_number_is_not_it() -> None:
    assert members(Lineage("", ((10, 99),)), SEEN) == []


def test_some_are_there_without_what_they_have_started() -> None:
    assert members(Lineage("", ((12, 120),), alone=((20, 200),)), SEEN) == [12, 20]


def test_a_session_has_orphans_too() -> None:
    lineage = Lineage("", ((10, 100),), session=10)

    assert members(lineage, SEEN) == [10, 11, 12, 30]


def test_what_goes_in_circles_ends() -> None:
    circle = {5: Seen(6, 5, 1), 6: Seen(5, 5, 1), 7: Seen(404, 7, 1)}

    assert members(Lineage("", ((5, 1),)), circle) == [5, 6]
