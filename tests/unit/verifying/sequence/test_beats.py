"""Silence in a run that lasts is found."""

from typing import Any

import pytest

from egressmon.verifying.sequence.beats import Beats


def at(second: int, kind: str = "heartbeat") -> dict[str, Any]:
    minute, second = divmod(second, 60)
    return {"type": kind, "time": f"2026-01-01T00:{minute:02}:{second:02}.000000000Z"}


def begun(every_ms: int | None = 10_000) -> Beats:
    beats = Beats()
    beats.begin(at(0, "run.start") | {"heartbeat_ms": every_ms})
    return beats


def test_two_that_are_missing_are_a_gap() -> None:
    beats = begun()

    assert beats.take(at(10)) is None
    assert beats.take(at(40)) is None
    assert beats.take(at(71)) == "a gap of 31 s without a heartbeat"
    assert beats.take(at(81)) is None


def test_the_first_one_can_be_missing() -> None:
    assert begun().take(at(31)) is not None


@pytest.mark.parametrize("kind", ["gap", "restart"])
def test_a_gap_that_is_told_of_is_none_more(kind: str) -> None:
    beats = begun()

    assert beats.take(at(300, kind)) is None
    assert beats.take(at(301)) is None


def test_without_a_beginning_nothing_can_be_said() -> None:
    assert Beats().take(at(300)) is None
    assert begun(None).take(at(300)) is None
    beats = begun()
    beats.forget()
    assert beats.take(at(300)) is None
