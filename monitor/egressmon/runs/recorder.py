"""Where every record of a run goes: masked, written, counted, and told of."""

from collections.abc import Callable

from egressmon.evidence.masking import sanitise_record
from egressmon.evidence.records import Record
from egressmon.runs.state import RunState
from egressmon.sensor.escalation import Escalation


class Recorder:
    """Records what it is given, in order."""

    def __init__(
        self,
        state: RunState,
        escalation: Escalation,
        also: Callable[[Record], None],
    ) -> None:
        """Each record goes to `also` as well; where that fails, it is a fault."""
        self._clock = state.clock
        self._evidence = state.evidence
        self._tally = state.tally
        self._faults = state.faults
        self._escalation = escalation
        self._also = also

    def record(self, record: Record) -> None:
        """Record what is so now."""
        self.record_at(record, self._clock.now_ns())

    def record_at(self, record: Record, ktime_ns: int) -> None:
        """Record what happened at `ktime_ns`, by the kernel's clock since boot."""
        record = sanitise_record(record)
        written = self._evidence.write(record, ktime_ns)
        self._tally.add(record, written=written)
        self._escalation.saw(record)
        try:
            self._also(record)
        except Exception as error:  # noqa: BLE001 -- it is recorded
            self._faults.note("learning from a record", error)
