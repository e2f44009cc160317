"""When nothing runs any more, the run ends after a while whatever is left to read."""

import pytest

from egressmon.runs.catch_up import CatchUp


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr("egressmon.runs.catch_up.time.monotonic", made)
    return made


def test_the_time_is_never_over_while_something_runs(time: Time) -> None:
    bound = CatchUp(5)
    bound.watch(lambda: False)

    time.now += 3600

    assert not bound.is_over()
    assert bound.left_s() == 5


def test_it_begins_by_itself_as_the_last_process_ends(time: Time) -> None:
    bound, ended = CatchUp(5), False
    bound.watch(lambda: ended)
    assert not bound.is_over()
    ended = True

    time.now += 1
    assert not bound.is_over()
    time.now += 4.5
    assert not bound.is_over()
    assert bound.left_s() == 0.5
    time.now += 0.5

    assert bound.is_over()
    assert bound.left_s() == 0


def test_it_begins_once(time: Time) -> None:
    bound = CatchUp(5)
    bound.begin()

    time.now += 4
    bound.begin()
    time.now += 1

    assert bound.is_over()


# Each question to the system costs: with many processes, milliseconds.
def test_looking_takes_a_tenth_of_the_time_at_most(time: Time) -> None:
    looks = 0

    def has_ended() -> bool:
        nonlocal looks
        looks += 1
        time.now += 1
        return False

    bound = CatchUp(5)
    bound.watch(has_ended)

    began = time.now
    while time.now < began + 100:
        bound.is_over()
        time.now += 0.001

    assert 9 <= looks <= 11


# It is asked in the midst of a batch, whose other events must be read.
def test_a_look_that_fails_is_no_failure_of_the_event(time: Time) -> None:
    bound = CatchUp(5)

    def has_ended() -> bool:
        raise BrokenPipeError(32, "no answer")

    bound.watch(has_ended)

    assert not bound.is_over()
    time.now += 10
    assert not bound.is_over()
