"""Connections that a helper of a container engine makes because somebody else made one.

Rootless engines have pasta or slirp4netns make, on the machine, what is begun in a
container's network; docker-proxy hands on what comes to a published port. Both are
seen. The second is told as what it is, and judged as the first: one stands for one.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

from egressmon.attribution.helpers import NETWORK_HELPERS, PUBLISHER
from egressmon.attribution.processes.process import Process
from egressmon.events.glance import FlowHead
from egressmon.events.model import Address, Flow
from egressmon.evidence.records.traffic import ConnectionRecord, Relayed
from egressmon.policy.judging.judge import Verdict
from egressmon.probes.wire import CONSTANTS
from egressmon.values import dataclass

_PATIENCE_NS = 2_000_000_000
"""How much later the helper makes it: 0.1 to 0.4 ms, on a machine that has time."""
_MAX_TARGETS = 4096
_MAX_MADE = 64  # of each target
_Target: TypeAlias = tuple[Address | None, int, int]
"""Where it goes, by which port and protocol; None: to a port of this machine."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A connection that a helper may repeat."""

    ktime_ns: int
    netns: int
    users: frozenset[int]
    """Who made it, and those above."""
    place: int | None
    pid: int
    verdict: Verdict


class Relays:
    """Remembers what helpers may repeat, while there are any; bounded."""

    def __init__(
        self,
        helper: Callable[[Flow], Process | None],
        users: Callable[[Flow], frozenset[int]],
        kinds: Callable[[], frozenset[str]],
        is_helper: Callable[[int], bool],
    ) -> None:
        """`helper` returns the process behind a flow, if it is a helper.

        `users` returns the ids of who made it and of those above; `kinds` which
        helpers were seen so far, `is_helper` whether the process with a pid is one.
        """
        self._helper = helper
        self._users = users
        self._kinds = kinds
        self._is_helper = is_helper
        self._made: OrderedDict[_Target, deque[_Made]] = OrderedDict()

    @property
    def are_there(self) -> bool:
        """Whether there is any helper."""
        return bool(self._kinds())

    def may_repeat(self, head: FlowHead, *, is_home: bool) -> bool:
        """Tell whether such a flow must be looked at each time.

        That is one of a helper's, and one that a helper may repeat.
        """
        kinds = self._kinds()
        if kinds & NETWORK_HELPERS and not is_home:
            return True
        if PUBLISHER in kinds and head.receiver != CONSTANTS["RECEIVER_REMOTE"]:
            return True
        return self._is_helper(head.pid)

    def verdict(self, flow: Flow) -> tuple[Verdict, Relayed] | None:
        """Return the verdict on a `flow` that repeats another; None: it does not."""
        process = self._helper(flow) if self._kinds() else None
        if process is None or process.helper is None or flow.operation == "accept":
            return None
        made = self._take(flow, process)
        if made is None:
            return None
        first = made.verdict
        reason = f"{process.helper} repeats it for process {made.pid}: {first.reason}"
        relayed = Relayed(process.helper, made.place, made.pid)
        return Verdict(first.word, first.rule, reason), relayed

    def note(self, flow: Flow, record: ConnectionRecord) -> None:
        """Note a connection that was made, and judged as `record` says."""
        kinds = self._kinds()
        target: _Target | None = None
        if flow.operation == "accept" or flow.receiver != "remote":
            if PUBLISHER in kinds:
                port = flow.local_port or flow.port
                target = None, port, flow.protocol
        elif kinds & NETWORK_HELPERS:
            target = flow.address, flow.port, flow.protocol
        if target is None:
            return
        verdict = Verdict(record.verdict, record.rule, record.reason)  # type: ignore[arg-type]
        made = _Made(
            flow.ktime_ns,
            flow.netns,
            self._users(flow),
            record.place,
            flow.pid,
            verdict,
        )
        known = self._made.setdefault(target, deque(maxlen=_MAX_MADE))
        known.append(made)
        self._made.move_to_end(target)
        if len(self._made) > _MAX_TARGETS:
            self._made.popitem(last=False)

    # One stands for one: a helper that makes two for it makes the other for nobody.
    def _take(self, flow: Flow, process: Process) -> _Made | None:
        target = _target(flow, process)
        known = self._made.get(target) if target is not None else None
        if not known:
            return None
        is_publisher = process.helper == PUBLISHER
        for one in known:
            is_near = 0 <= flow.ktime_ns - one.ktime_ns <= _PATIENCE_NS
            is_other = one.netns not in {0, flow.netns} and flow.uid in one.users
            if is_near and (is_publisher or is_other):
                known.remove(one)
                return one
        return None


# What docker-proxy is for, its arguments say, which dockerd gave it, as root.
def _target(flow: Flow, process: Process) -> _Target | None:
    if process.helper != PUBLISHER:
        return flow.address, flow.port, flow.protocol
    words = process.argv or []
    given = dict(pairwise(words))
    is_its = given.get("-container-ip"), given.get("-container-port")
    port = given.get("-host-port", "")
    if (
        flow.uid
        or is_its != (str(flow.address), str(flow.port))
        or not port.isdecimal()
    ):
        return None
    return None, int(port), flow.protocol
