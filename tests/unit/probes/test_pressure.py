"""Who waits for a ring to fill up is woken once for each time that it does."""

import os
from collections.abc import Generator
from typing import cast

import pytest

from egressmon.probes.kernel.ring import Pressure, Ring


class Pipe:
    """Stands for a ring: each write wakes whoever waits, as the probes may."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()

    def fileno(self) -> int:
        return self._reading

    def wake(self) -> None:
        os.write(self._writing, b"1")

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


@pytest.fixture
def pipe() -> Generator[Pipe]:
    one = Pipe()
    yield one
    one.close()


@pytest.fixture
def pressure(pipe: Pipe) -> Generator[Pressure]:
    one = Pressure([cast("Ring", pipe)])
    yield one
    one.close()


def test_nothing_ends_the_wait_while_nothing_fills_up(pressure: Pressure) -> None:
    assert not pressure.wait(0)


def test_what_was_not_read_yet_does_not_end_the_next_wait(
    pipe: Pipe, pressure: Pressure
) -> None:
    pipe.wake()
    assert pressure.wait(5)
    assert not pressure.wait(0)

    pipe.wake()
    assert pressure.wait(5)


def test_from_its_end_on_each_wait_ends_at_once(pressure: Pressure) -> None:
    pressure.end()

    assert pressure.wait(5)
    assert pressure.wait(5)
