"""Running a function in a thread: its result, and its error."""

import threading

import pytest

from egressmon.probes.loaders.beside import Beside


def test_the_result_is_waited_for() -> None:
    go = threading.Event()

    def work() -> int:
        go.wait()
        return 7

    work_beside = Beside(work)
    go.set()

    assert work_beside.result() == 7
    assert work_beside.result() == 7


def test_an_error_is_raised_where_the_result_is_wanted() -> None:
    def work() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Beside(work).result()
