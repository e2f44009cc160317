"""The phase of each record is that of its time, as the writer knew it."""

from hypothesis import given
from hypothesis import strategies as st

from egressmon.evidence.phases import Phases
from egressmon.verifying.records.sense import PhaseMarks


def record(
    kind: str, time: int, phase: str | None, **fields: object
) -> dict[str, object]:
    return {"type": kind, "time": f"{time:09d}", "phase": phase, **fields}


def mark(event: str, name: str, time: int) -> dict[str, object]:
    return record("phase", time, name, name=name, event=event)


def test_a_record_of_another_phase_is_found() -> None:
    marks = PhaseMarks()
    assert marks.add(record("dns", 5, None)) is None
    assert marks.add(mark("begin", "one", 10)) is None
    assert marks.add(record("dns", 12, "one")) is None
    assert marks.add(record("dns", 9, None)) is None  # read late
    assert marks.add(record("dns", 9, "one")) is not None
    assert marks.add(record("dns", 13, None)) is not None
    assert marks.add(mark("end", "one", 20)) is None
    assert marks.add(record("dns", 20, "one")) is None
    assert marks.add(record("dns", 21, "one")) is not None
    assert marks.add(mark("begin", "two", 30)) is None
    assert marks.add(record("dns", 31, "one")) is not None
    assert marks.add(record("dns", 15, "one")) is None
    assert marks.add(record("dns", 31, "three")) is not None


@given(st.data())
def test_what_a_writer_writes_fits(data: st.DataObject) -> None:
    phases, marks = Phases(), PhaseMarks()
    last, now = 0, None
    for number in range(data.draw(st.integers(0, 30))):
        if data.draw(st.booleans()):
            time = data.draw(st.integers(0, last + 5))
            assert marks.add(record("dns", time, phases.at(time))) is None
            continue
        last += data.draw(st.integers(2, 4))
        if now is None:
            now = f"p{number % 3}"
            phases.begin(now, last)
            assert marks.add(mark("begin", now, last)) is None
        else:
            assert marks.add(mark("end", now, last)) is None
            phases.end(last)
            now = None
