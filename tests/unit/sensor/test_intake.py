"""Batches come in order, whether the caller or the thread reads the ring."""

import threading
from typing import cast

import pytest

from egressmon.faults import Faults
from egressmon.probes.engine import Engine
from egressmon.probes.kernel.ring import Pressure
from egressmon.probes.kernel.sideband import Ended, SideBand, SideRecord
from egressmon.sensor.intake import Intake


class Ring:
    """Stands for an engine that has `count` batches of one event each."""

    def __init__(self, count: int, size: int = 8) -> None:
        self.left = [bytes([number]) * size for number in range(count)]
        self.read_by: list[str] = []
        self.emptied = threading.Event()
        self.taken: tuple[int, ...] = ()

    @property
    def is_filling(self) -> bool:
        return bool(self.left)

    @property
    def is_pressed(self) -> bool:
        return bool(self.left)

    def pressure(self) -> Pressure:
        return cast("Pressure", Pressed())

    def read(self) -> list[bytes]:
        self.read_by.append(threading.current_thread().name)
        batch = [self.left.pop(0)] if self.left else []
        if not self.left:
            self.emptied.set()
        return batch


class Pressed:
    """Stands for what tells when a ring fills up: nothing tells, until the end."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        return self._ended.wait(timeout_s)

    def end(self) -> None:
        self._ended.set()

    def close(self) -> None:
        pass


class Band:
    """Stands for a side band that returns one record for each call of `read`."""

    lost = 3

    def __init__(self) -> None:
        self.time = 0

    def read(self) -> list[SideRecord]:
        self.time += 1
        return [Ended(self.time, 1)]


def intake(
    ring: Ring, band: Band | None = None, faults: Faults | None = None
) -> Intake:
    return Intake(
        cast("Engine", ring), cast("SideBand | None", band), faults or Faults()
    )


def test_without_work_the_caller_reads_by_itself() -> None:
    ring = Ring(2)
    taking = intake(ring)

    assert [taking.next_batch().events for _ in range(3)] == [
        [b"\0" * 8],
        [b"\1" * 8],
        [],
    ]
    assert not taking.has_more


def test_a_thread_empties_the_ring_while_the_caller_works() -> None:
    ring = Ring(50)
    taking = intake(ring)
    taking.start()
    first = taking.next_batch()
    with taking.working():
        assert ring.emptied.wait(5)
    assert taking.has_more

    rest = [taking.next_batch() for _ in range(50)]
    taking.stop()

    events = [event for batch in (first, *rest) for event in batch.events]
    assert events == [bytes([number]) * 8 for number in range(50)]
    assert len(set(ring.read_by)) == 2


def test_it_takes_no_more_than_so_much_ahead() -> None:
    ring = Ring(40, size=1 << 20)
    taking = intake(ring)
    taking.start()
    with taking.working():
        assert not ring.emptied.wait(0.3)
    taking.stop()

    assert 30 < len(ring.left) < 40


def test_mappings_come_with_the_events_before_which_they_were_read() -> None:
    taking = intake(Ring(1), Band())

    batch = taking.next_batch()

    assert batch.mapped == [Ended(1, 1)]
    assert batch.lost_mappings == 3


def test_stopping_twice_or_unstarted_is_nothing() -> None:
    taking = intake(Ring(0))

    taking.stop()
    taking.stop()
    with taking.working():
        assert taking.next_batch().events == []


def test_what_fails_in_the_thread_is_noted_and_reading_goes_on() -> None:
    class Broken(Ring):
        def read(self) -> list[bytes]:
            if threading.current_thread() is threading.main_thread():
                return super().read()
            self.emptied.set()
            raise OSError("the ring is gone")

    faults = Faults()
    ring = Broken(2)
    taking = intake(ring, None, faults)
    taking.start()
    with taking.working():
        assert ring.emptied.wait(5)
        taking.stop()

    assert taking.next_batch().events == [b"\0" * 8]
    assert taking.next_batch().events == [b"\1" * 8]
    (doubt,) = faults.doubts()
    assert doubt == "reading events ahead failed: OSError: the ring is gone"


def test_a_ring_whose_next_record_is_not_finished_is_no_endless_work() -> None:
    class Busy(Ring):
        @property
        def is_filling(self) -> bool:
            return True

        def read(self) -> list[bytes]:
            self.emptied.set()
            return []

    ring, faults = Busy(0), Faults()
    taking = intake(ring, None, faults)
    taking.start()
    with taking.working():
        assert ring.emptied.wait(5)
    taking.stop()  # returns, although the ring is always filling

    assert faults.doubts() == []


def test_a_side_band_that_fails_takes_no_events_with_it() -> None:
    class Broken(Band):
        def read(self) -> list[SideRecord]:
            raise ValueError("a record of no length")

    faults = Faults()
    taking = intake(Ring(1), Broken(), faults)

    batch = taking.next_batch()

    assert batch.events == [b"\0" * 8]
    assert batch.lost_mappings == 4
    assert len(faults.doubts()) == 1


def test_a_thread_that_was_idle_for_long_wakes_up_for_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("egressmon.sensor.intake._MAX_IDLE", 0)
    ring = Ring(0)
    taking = intake(ring)
    taking.start()
    for _ in range(3):
        assert taking.parked.wait(5)
        ring.emptied.clear()
        ring.left = [b"more"]
        with taking.working():
            assert ring.emptied.wait(5)
    taking.stop()
