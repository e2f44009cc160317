"""Calls whose attribution is known, and whose flow has not arrived yet."""

from collections import OrderedDict

from egressmon.attribution.result import Attribution, unknown
from egressmon.events.glance import FlowHead
from egressmon.events.model import FLAG_OWNERLESS, FLAG_STACK_LOST, Traffic

_MAX_WAITING = 4096


class WaitingCalls:
    """A bounded number of attributed calls; the oldest are forgotten first.

    The probes copy a stack as a thread makes the call, and tell of the flow later. The
    flow names its call by the thread and the time.
    """

    def __init__(self) -> None:
        self._calls: OrderedDict[tuple[int, int], Attribution] = OrderedDict()

    def add(self, tid: int, ktime_ns: int, attribution: Attribution) -> None:
        """Keep the `attribution` of the call of thread `tid` at `ktime_ns`."""
        self._calls[tid, ktime_ns] = attribution
        if len(self._calls) > _MAX_WAITING:
            self._calls.popitem(last=False)

    def lookup(self, flow: Traffic | FlowHead) -> Attribution:
        """Return the attribution of the call that made `flow`, or why there is none."""
        if flow.flags & FLAG_OWNERLESS:
            return unknown("the kernel named no owner of the packet's socket")
        if flow.flags & FLAG_STACK_LOST:
            return unknown("the caller's stack did not fit the ring")
        if not flow.stack_ns:
            return unknown("no call of the scope's was seen to send it")
        found = self._calls.get((flow.tid, flow.stack_ns))
        return found or unknown("too many calls before it: its stack is forgotten")
