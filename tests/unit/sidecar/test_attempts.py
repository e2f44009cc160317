"""Attempts are told, but a flood of them is few records."""

from egressmon.sidecar.attempts import Attempts
from egressmon.sidecar.permissions import Caller

Told = tuple[str, int, int]


def made() -> tuple[Attempts, list[Told]]:
    told: list[Told] = []

    def tell(verb: str, caller: Caller, reason: str, count: int) -> None:
        assert reason == "why"
        told.append((verb, caller.uid, count))

    return Attempts(tell), told


def by(uid: int) -> Caller:
    return Caller(pid=7, uid=uid, is_inside=False, is_pinned=True)


def test_the_first_is_told_at_once_and_those_after_it_are_counted() -> None:
    attempts, told = made()

    for _ in range(5):
        attempts.note("stop", by(1), "why", 10.0)
    assert told == [("stop", 1, 1)]
    assert attempts.due() == 11.0
    attempts.tell_due(11.0)

    assert told == [("stop", 1, 1), ("stop", 1, 4)]
    assert attempts.due() is None


def test_users_and_verbs_are_told_apart() -> None:
    attempts, told = made()

    attempts.note("stop", by(1), "why", 0.0)
    attempts.note("reload", by(1), "why", 0.0)
    attempts.note("stop", by(2), "why", 0.0)

    assert told == [("stop", 1, 1), ("reload", 1, 1), ("stop", 2, 1)]


def test_after_a_quiet_time_the_next_is_told_at_once() -> None:
    attempts, told = made()

    attempts.note("stop", by(1), "why", 0.0)
    attempts.tell_due(1.0)
    attempts.note("stop", by(1), "why", 1.0)

    assert told == [("stop", 1, 1), ("stop", 1, 1)]


def test_a_flood_of_a_day_is_few_records_and_none_is_forgotten() -> None:
    attempts, told = made()

    for second in range(86_400):
        for part in (0.0, 0.5):
            attempts.note("stop", by(1), "why", second + part)
    attempts.tell_all()

    assert len(told) < 1500
    assert sum(count for _, _, count in told) == 2 * 86_400


def test_many_users_are_few_records() -> None:
    attempts, told = made()

    for uid in range(10_000):
        attempts.note("stop", by(uid), "why", 0.0)
    attempts.tell_all()

    assert len(told) <= 66
    assert sum(count for _, _, count in told) == 10_000
