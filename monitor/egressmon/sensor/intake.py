"""Read events from the rings, also while the agent is busy with earlier ones.

Stacks come in bursts, and the agent may need a quarter of a second for one event (the
first loopback address imports a library). A ring holds less than such a burst.
"""

import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

from egressmon.faults import Faults
from egressmon.probes.engine import Engine
from egressmon.probes.kernel.ring import Pressure
from egressmon.probes.kernel.sideband import SideBand, SideRecord
from egressmon.values import dataclass

_TICK_S = 0.01
_LONG_TICK_S = 0.1
"""While nothing fills up: the probes end the wait, but for the ring of processes."""
_MAX_IDLE = 5
"""After how many ticks without work the thread waits to be woken."""
_MAX_BYTES = 8 << 20
_MAX_AHEAD = 32 << 20
"""More than all rings hold."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events, oldest first, and all mappings that were made before the last of them."""

    events: list[bytes]
    mapped: list[SideRecord]
    lost_mappings: int
    """How many records of mappings were lost since the beginning of the run."""
    taken: tuple[int, ...] = ()
    """Up to where in the rings all events were taken by then."""

    @property
    def size(self) -> int:
        """The size of all events in bytes."""
        return sum(map(len, self.events))


class Intake:
    """One queue of what the rings (events) and the side band (mappings) deliver."""

    def __init__(
        self, engine: Engine, side_band: SideBand | None, faults: Faults
    ) -> None:
        """Note failures of the thread and of the side band in `faults`."""
        self._engine = engine
        self._side_band = side_band
        self._faults = faults
        self._unread_mappings = 0
        self._lock = threading.Lock()
        self._waiting: deque[Batch] = deque()
        self._bytes = 0
        self._is_busy = False
        self._idle = 0
        self.parked = threading.Event()
        """Set while the thread waits to be woken, as there was nothing to do."""
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._pressure: Pressure | None = None
        self._thread: threading.Thread | None = None

    def next_batch(self) -> Batch:
        """Return the oldest batch; it has no events if there are none now."""
        with self._lock:
            if not self._waiting:
                return self._read()
            batch = self._waiting.popleft()
            self._bytes -= batch.size
            return batch

    def read_ahead(self) -> None:
        """Empty the rings, once: so that there is room for what comes next."""
        while self._bytes < _MAX_AHEAD and (events := self._engine.read()):
            self._put(Batch(events, [], 0, self._engine.taken))

    def begin_with(self, other: "Intake") -> None:
        """Begin with what `other` has read ahead."""
        for batch in other.ahead:
            self._put(batch)

    @property
    def ahead(self) -> tuple[Batch, ...]:
        """What was read ahead, oldest first."""
        return tuple(self._waiting)

    def _put(self, batch: Batch) -> None:
        self._waiting.append(batch)
        self._bytes += batch.size

    @property
    def has_more(self) -> bool:
        """Whether another batch is probably there already."""
        return bool(self._waiting) or self._engine.is_pressed

    def start(self) -> None:
        """Start the thread that empties the rings while the caller is in `working`."""
        self._pressure = self._engine.pressure()
        self._thread = threading.Thread(
            target=self._empty, args=(self._pressure,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread; `next_batch` can still be called."""
        self._ended.set()
        self._wake.set()
        if self._pressure is not None and self._thread is not None:
            self._pressure.end()
            self._thread.join()
            self._pressure.close()
            self._pressure = None

    @contextmanager
    def working(self) -> Generator[None]:
        """Let the thread read as long as the caller is busy in the `with` block."""
        self._is_busy = True
        # To wake the thread each time would cost more than a short batch.
        if self.parked.is_set():
            self._wake.set()
        try:
            yield
        finally:
            self._is_busy = False

    # The mappings are read after the events, so that none made before them is missing.
    def _read(self) -> Batch:
        events = self._engine.read()
        taken = self._engine.taken
        if self._side_band is None:
            return Batch(events, [], 0, taken)
        mapped: list[SideRecord] = []
        try:
            mapped = self._side_band.read()
        except Exception as error:  # noqa: BLE001 -- the events must not be lost with it
            self._faults.note("reading what was mapped", error)
            self._unread_mappings += 1
        lost = self._side_band.lost + self._unread_mappings
        return Batch(events, mapped, lost, taken)

    def _empty(self, pressure: Pressure) -> None:
        while self._next_tick(pressure):
            if not self._is_busy:
                continue
            with self._lock:
                try:
                    self._read_ahead()
                except Exception as error:  # noqa: BLE001 -- next_batch() reads on by itself
                    self._faults.note("reading events ahead", error)
                    return

    # Wait for the next time to look at the rings; returns False at the end. The caller
    # looks whether this is parked only after it has said that it is busy.
    def _next_tick(self, pressure: Pressure) -> bool:
        self._idle = 0 if self._is_busy else self._idle + 1
        if self._idle > _MAX_IDLE:
            self._wake.clear()
            self.parked.set()
            if not self._is_busy and not self._ended.is_set():
                self._wake.wait()
            self.parked.clear()
            self._idle = 0
        if self._engine.is_filling:
            return not self._ended.wait(_TICK_S)
        pressure.wait(_LONG_TICK_S)
        return not self._ended.is_set()

    def _read_ahead(self) -> None:
        while self._bytes < _MAX_BYTES and self._engine.is_filling:
            batch = self._read()
            self._put(batch)
            if not batch.events:
                return  # the probes are still writing the next one
