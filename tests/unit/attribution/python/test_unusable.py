"""Why a process has no frames: what it ran at the time of the call."""

import pytest

from egressmon.attribution.python.builds import Interpreter
from egressmon.attribution.python.unusable import UnusableInterpreters
from egressmon.probes.kernel.sideband import Ended, Executed, Forked, Mapped

OLD = Interpreter("/old/python", None, (1, 1), "CPython before 3.9")
NEW = Interpreter("/new/python", (1, 2), (1, 2))


def mapped(pid: int, ktime_ns: int) -> Mapped:
    return Mapped(ktime_ns, pid, 0, 4096, 0, b"/old/python", 1, 1)


@pytest.fixture
def unusable() -> UnusableInterpreters:
    """As process 1 has run an old interpreter since 10 ns."""
    unusable = UnusableInterpreters()
    unusable.on_side_record(mapped(1, 10), OLD)
    return unusable


def test_a_reason_holds_from_its_mapping_on(unusable: UnusableInterpreters) -> None:
    assert unusable.why(1, 9) is None
    assert unusable.why(1, 10) == "CPython before 3.9"
    assert unusable.why(2, 10) is None


def test_a_child_inherits_it_until_it_executes(unusable: UnusableInterpreters) -> None:
    unusable.on_side_record(Forked(20, 2, 1), None)
    assert unusable.why(2, 20) == "CPython before 3.9"

    unusable.on_side_record(Executed(30, 2), None)

    assert unusable.why(2, 30) is None
    assert unusable.why(2, 29) == "CPython before 3.9"  # a call that is told of later
    assert unusable.why(1, 30) == "CPython before 3.9"


def test_a_number_that_is_used_again_has_no_reason(
    unusable: UnusableInterpreters,
) -> None:
    unusable.on_side_record(Forked(20, 1, 9), None)

    assert unusable.why(1, 20) is None


def test_the_last_interpreter_counts_and_other_files_do_not(
    unusable: UnusableInterpreters,
) -> None:
    unusable.on_side_record(mapped(1, 20), None)
    assert unusable.why(1, 20) == "CPython before 3.9"

    unusable.on_side_record(mapped(1, 30), NEW)

    assert unusable.why(1, 30) is None


def test_the_time_of_the_mapping_outdoes_proc(unusable: UnusableInterpreters) -> None:
    unusable.on_executed(1, OLD)
    unusable.on_executed(2, OLD)
    unusable.on_executed(3, NEW)

    assert unusable.why(1, 9) is None
    assert unusable.why(2, 0) == "CPython before 3.9"
    assert unusable.why(3, 0) is None


def test_what_is_gone_is_forgotten(unusable: UnusableInterpreters) -> None:
    unusable.on_side_record(Forked(20, 2, 1), None)
    unusable.on_ended(1)
    unusable.on_side_record(Ended(30, 2), None)

    assert unusable.why(1, 40) is None
    assert unusable.why(2, 40) is None
