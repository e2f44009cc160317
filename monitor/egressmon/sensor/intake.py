"""Takes events out of the ring, also while the agent is busy with earlier ones.

Stacks come in bursts, and one event may keep the agent for a quarter of a second (the
first address on loopback imports a library); the ring holds less than such a burst.
"""

import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from egressmon.faults import Faults
from egressmon.probes.engine import Engine
from egressmon.probes.kernel.sideband import SideBand, SideRecord

_TICK_S = 0.01
_MAX_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Events, oldest first, and all that was mapped before any of them."""

    events: list[bytes]
    mapped: list[SideRecord]
    lost_mappings: int
    """How many records of mappings were lost so far."""

    @property
    def size(self) -> int:
        """How many bytes the events have."""
        return sum(map(len, self.events))


class Intake:
    """The ring and the side band, as one queue."""

    def __init__(
        self, engine: Engine, side_band: SideBand | None, faults: Faults
    ) -> None:
        """What goes wrong in the thread, or with the side band, goes to `faults`."""
        self._engine = engine
        self._side_band = side_band
        self._faults = faults
        self._unread_mappings = 0
        self._lock = threading.Lock()
        self._waiting: deque[Batch] = deque()
        self._bytes = 0
        self._busy = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> Batch:
        """Return the oldest batch that there is; without events: there is none."""
        with self._lock:
            if not self._waiting:
                return self._read()
            batch = self._waiting.popleft()
            self._bytes -= batch.size
            return batch

    @property
    def has_more(self) -> bool:
        """Whether there is more to take, probably."""
        return bool(self._waiting) or self._engine.is_pressed

    def start(self) -> None:
        """Have a thread empty the ring while working() is on."""
        self._thread = threading.Thread(target=self._empty, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End that thread; take() goes on as before."""
        self._ended.set()
        self._busy.set()
        if self._thread is not None:
            self._thread.join()

    @contextmanager
    def working(self) -> Generator[None]:
        """Say that the caller is busy, and will not take() for a while."""
        self._busy.set()
        try:
            yield
        finally:
            if not self._ended.is_set():
                self._busy.clear()

    # What is mapped must be read after the events: then nothing before them is missing.
    def _read(self) -> Batch:
        events = self._engine.read()
        if self._side_band is None:
            return Batch(events, [], 0)
        mapped: list[SideRecord] = []
        try:
            mapped = self._side_band.read()
        except Exception as error:  # noqa: BLE001 -- the events must not be lost with it
            self._faults.note("reading what was mapped", error)
            self._unread_mappings += 1
        return Batch(events, mapped, self._side_band.lost + self._unread_mappings)

    def _empty(self) -> None:
        while self._busy.wait() and not self._ended.wait(_TICK_S):
            with self._lock:
                try:
                    self._read_ahead()
                except Exception as error:  # noqa: BLE001 -- take() reads on by itself
                    self._faults.note("reading events ahead", error)
                    return

    def _read_ahead(self) -> None:
        while self._bytes < _MAX_BYTES and self._engine.is_filling:
            batch = self._read()
            self._waiting.append(batch)
            self._bytes += batch.size
            if not batch.events:
                return  # they are being written
