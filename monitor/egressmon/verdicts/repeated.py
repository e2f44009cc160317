"""Record connections that are like earlier ones by what was rendered for these.

The key of an earlier line has all that a verdict and a record rest on: the event itself
but for its time, cookie and references, and what each stage says that its answer rests
on (`basis`). A test compares what is written with and without this, byte by byte.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from egressmon.events.decode import address, decode
from egressmon.events.glance import FLOWS, FlowHead, flow_head, flow_rest
from egressmon.events.model import FLAG_CANARY, FLAG_OWNERLESS, Flow
from egressmon.evidence.records import Record
from egressmon.evidence.records.traffic import ConnectionRecord
from egressmon.evidence.rendering import Rendered
from egressmon.faults import Faults
from egressmon.probes.wire import CONSTANTS
from egressmon.recent import Recent
from egressmon.values import dataclass
from egressmon.verdicts.connections import Connections

_MAX_LINES = 4096
_MAX_BYTES = 8 << 20
_MAX_ONCE = 2 * _MAX_LINES
# Who listens must be asked each time.
_ASKED = frozenset({CONSTANTS["RECEIVER_SHARED"], CONSTANTS["RECEIVER_ASK"]})
Basis: TypeAlias = Callable[[FlowHead], Hashable]
"""Returns all that an answer about a flow rests on; None: that cannot be said."""


class Lines(Protocol):
    """What records are handed to, in two steps."""

    def prepare(self, record: Record) -> Rendered:
        """Mask and render `record`, to record it once or often."""
        ...

    def put(self, rendered: Rendered, ktime_ns: int) -> None:
        """Record what was `rendered`, with the time `ktime_ns`."""
        ...

    def gathering(self) -> AbstractContextManager[None]:
        """Have the records of the `with` block written together."""
        ...


@dataclass(slots=True)
class _Line:
    rendered: Rendered
    since_ns: int
    until_ns: int | None
    """Until when its names hold; None: to the end of the run."""
    wants_name: bool
    """Whether another name might be learned at the last moment."""
    turn: int
    """In which turn it was last used."""

    def holds(self, ktime_ns: int) -> bool:
        return self.since_ns <= ktime_ns and (
            self.until_ns is None or ktime_ns <= self.until_ns
        )


class RepeatedConnections:
    """A bounded number of rendered connections.

    A line is kept at its second sight: most calls are made once. What was not used
    between two calls of `turn` is let go of.
    """

    def __init__(
        self, connections: Connections, basis: Basis, lines: Lines, faults: Faults
    ) -> None:
        """Ask `basis` who made a flow, and `connections` for records of new ones.

        What was made while something failed, as `faults` has it, is not kept.
        """
        self._connections = connections
        self._basis = basis
        self._out = lines
        self._faults = faults
        self._known: OrderedDict[Hashable, _Line] = OrderedDict()
        self._bytes = 0
        self._turn = 0
        self._once = Recent[int, bool](_MAX_ONCE)

    @property
    def size(self) -> int:
        """How many lines are kept."""
        return len(self._known)

    def forget(self) -> None:
        """Forget all lines: another policy judges from now on."""
        self._known.clear()
        self._once.clear()
        self._bytes = 0

    def turn(self) -> None:
        """Let go of the lines that were not used since the last turn."""
        self._once.turn()
        for key, line in list(self._known.items()):
            if line.turn < self._turn:
                self._bytes -= len(self._known.pop(key).rendered.body)
        self._turn += 1

    def record(self, data: bytes, kind: int) -> bool:
        """Record the event in `data`, of that `kind`; False if it is to be decoded."""
        head = flow_head(data) if kind in FLOWS else None
        if head is None or _is_odd(head) or self._connections.is_of_relay(head):
            return False
        key = self._key(head, data)
        line = self._known.get(key) if key is not None else None
        if line is not None and line.wants_name:
            self._connections.before_unnamed()
            key = self._key(head, data)
            line = self._known.get(key) if key is not None else None
        if line is not None and line.holds(head.ktime_ns):
            line.turn = self._turn
            self._out.put(line.rendered, head.ktime_ns)
        else:
            self._record_anew(head, data)
        return True

    def _key(self, head: FlowHead, data: bytes) -> Hashable:
        who = self._basis(head)
        if who is None:
            return None
        return (
            flow_rest(data),
            who,
            self._connections.basis(head, address(head.address)),
        )

    def _record_anew(self, head: FlowHead, data: bytes) -> None:
        faults = self._faults.count
        flow = decode(data)
        assert isinstance(flow, Flow)  # noqa: S101 -- by its kind
        record = self._connections.record(flow)
        rendered = self._out.prepare(record)
        self._out.put(rendered, head.ktime_ns)
        # Only now: the record's making may have taught a name.
        key = self._key(head, data)
        if key is None or self._faults.count != faults:
            return
        if self._once.get(hash(key)):
            self._keep(key, rendered, flow, record)
        else:
            self._once.put(hash(key), True)

    def _keep(
        self, key: Hashable, rendered: Rendered, flow: Flow, record: ConnectionRecord
    ) -> None:
        until = self._connections.until_ns(flow)
        wants_name = not record.dst.names and flow.receiver == "remote"
        before = self._known.pop(key, None)
        if before is not None:
            self._bytes -= len(before.rendered.body)
        self._known[key] = _Line(rendered, flow.ktime_ns, until, wants_name, self._turn)
        self._bytes += len(rendered.body)
        while len(self._known) > _MAX_LINES or self._bytes > _MAX_BYTES:
            oldest = self._known.popitem(last=False)[1]
            self._bytes -= len(oldest.rendered.body)


def _is_odd(head: FlowHead) -> bool:
    return bool(head.flags & (FLAG_CANARY | FLAG_OWNERLESS)) or head.receiver in _ASKED
