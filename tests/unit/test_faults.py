"""A failure is noted with its step, and does not prevent the steps after it."""

from egressmon.faults import Faults


def test_each_step_that_fails_is_one_doubt() -> None:
    faults = Faults()
    for number in range(3):
        with faults.isolated("reading events"):
            raise OSError(f"number {number}")
    with faults.isolated("detaching"):
        raise RuntimeError("token=hunter2hunter2 \x1b[31m\ud800")
    with faults.isolated("nothing"):
        pass

    reading, detaching = faults.doubts()

    assert reading == "reading events failed 3 times, first: OSError: number 0"
    assert detaching.startswith("detaching failed: RuntimeError: token=***")


def test_a_message_is_bounded() -> None:
    faults = Faults()
    with faults.isolated("a step"):
        raise ValueError("x" * 10**6)

    assert len(faults.doubts()[0]) < 300
