"""The one way of every record of a run: mask it, write it, count it, pass it on."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from egressmon.evidence.masking import sanitise_record
from egressmon.evidence.records import Record
from egressmon.evidence.rendering import Rendered, render
from egressmon.runs.state import RunState


class Watcher(Protocol):
    """Whoever learns from each record."""

    def on_record(self, record: Record) -> None:
        """Learn from `record`."""


class Recorder:
    """Masks, writes and counts the records of one run, in order."""

    def __init__(
        self,
        state: RunState,
        watchers: Iterable[Watcher],
        on_record: Callable[[Record], None],
    ) -> None:
        """Call `on_record` with each record; an exception in it is noted as a fault.

        `watchers` are our own, and raise none; more may be added to them.
        """
        self._clock = state.clock
        self._evidence = state.evidence
        self._tally = state.tally
        self._faults = state.faults
        self._watchers = watchers
        self._held: list[tuple[Rendered, int]] | None = None
        self.admits: Callable[[Rendered, int], bool] | None = None
        """Tells whether what was rendered is to be recorded now; None: all is."""
        self._on_record = on_record

    def record(self, record: Record) -> None:
        """Record `record` with the current time."""
        self.record_at(record, self._clock.now_ns())

    def record_at(self, record: Record, ktime_ns: int) -> None:
        """Record `record` with the time `ktime_ns` (CLOCK_BOOTTIME, nanoseconds)."""
        self.put(self.prepare(record), ktime_ns)

    def prepare(self, record: Record) -> Rendered:
        """Mask and render `record`, to record it once or often."""
        return render(sanitise_record(record))

    def put(self, rendered: Rendered, ktime_ns: int) -> None:
        """Record what was `rendered`, with the time `ktime_ns`."""
        if self.admits is None or self.admits(rendered, ktime_ns):
            self.put_admitted(rendered, ktime_ns)

    def put_admitted(self, rendered: Rendered, ktime_ns: int) -> None:
        """Record what was `rendered`, and is of what is watched."""
        if self._held is not None:
            self._held.append((rendered, ktime_ns))
            return
        record = rendered.record
        written = self._evidence.put(rendered, ktime_ns)
        self._tally.add(record, written=written, group=rendered.group)
        for watcher in self._watchers:
            watcher.on_record(record)
        try:
            self._on_record(record)
        except Exception as error:  # noqa: BLE001 -- the record is already written
            self._faults.note("learning from a record", error)

    def hold(self) -> None:
        """Keep what is recorded until `held` is called: something comes before it."""
        self._held = []

    def held(self) -> list[tuple[Rendered, int]]:
        """Return what was kept, with its times, to be put; keep nothing any more."""
        held, self._held = self._held or [], None
        return held

    def gathering(self) -> AbstractContextManager[None]:
        """Have the records of the `with` block written together."""
        return self._evidence.gathering()
