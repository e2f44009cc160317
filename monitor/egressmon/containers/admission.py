"""Which records are of the containers that are watched, where not all of them are.

A process is of each container in which it, or who started it, ever was: nobody leaves
what is watched by moving to another cgroup. In a network of its own, what others send
is of all containers that were met there: one may send for the other.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from egressmon.containers.choice import Choice, Fate
from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import Actor, ProcessRecord
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    DnsRecord,
    EscapeRecord,
    ExistingRecord,
    PlaceRecord,
)
from egressmon.evidence.rendering import Rendered
from egressmon.values import dataclass

MAX_HELD = 4096
_MAX_HELD_BYTES = 8 << 20
_MAX_PROCESSES = 1 << 16
_MAX_ENDED = 1 << 14
_MAX_NETWORKS = 1 << 16
_REUSED_NS = 120_000_000_000
"""For how long a look-up may still be told of, whose process has ended."""
_LAUNCHER = "launcher"
Keys: TypeAlias = frozenset[str]
_NONE: Keys = frozenset()
_LOST: Keys = frozenset({"unknown:"})
"""Of no container that the choice knows: whose it is, is not known."""


@dataclass(slots=True)
class _Process:
    keys: Keys
    """The containers in which it ever was, or who started it."""
    ended_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    rendered: Rendered
    ktime_ns: int
    keys: Keys


class Admission:
    """Records what is of watched containers, once it is known; drops the rest."""

    def __init__(
        self,
        choice: Choice,
        put: Callable[[Rendered, int], None],
        too_much: Callable[[Iterable[str]], None],
    ) -> None:
        """`put` records what was kept, once it is known that it is to be recorded.

        `too_much` is called with containers for which no more can be kept, and must
        settle what they are.
        """
        self._choice = choice
        self._put = put
        self._too_much = too_much
        self._processes: OrderedDict[int, _Process] = OrderedDict()
        self._ended: OrderedDict[int, None] = OrderedDict()
        self._networks: OrderedDict[int, int] = OrderedDict()
        """By the number of a place."""
        self._residents: OrderedDict[int, Keys] = OrderedDict()
        """By network, the containers of which anything was told there."""
        self._held: deque[_Held] = deque()
        self._held_bytes = 0
        self._home = 0
        self.dropped: dict[str, Counter[str]] = {
            "connections": Counter(), "queries": Counter()
        }  # fmt: skip
        """By whose they were: `other` containers, or `outside` of all."""

    def begin(self, processes: Mapping[int, Keys], home: int) -> None:
        """Begin with `processes`, by pid, and the containers in which each is.

        `home` is the machine's own network namespace, which is nobody's own.
        """
        self._home = home
        for pid, keys in processes.items():
            self._processes[pid] = _Process(keys)

    def admits(self, rendered: Rendered, ktime_ns: int) -> bool:
        """Tell whether to record `rendered` now; else it is kept here, or counted."""
        record = rendered.record
        keys = self._keys(record, ktime_ns)
        if keys is None:
            return True
        fate = self._choice.fate(keys)
        if isinstance(record, EscapeRecord) and record.what == _LAUNCHER:
            self._choice.distrust(keys)
        if fate is Fate.OPEN:
            self._hold(_Held(rendered, ktime_ns, keys))
            return False
        if fate is Fate.WATCHED:
            return True
        self._count(record, "outside" if fate is Fate.OUTSIDE else "other")
        return False

    def release(self) -> None:
        """Record, or drop, what was kept and is open no more."""
        left, self._held = self._held, deque()
        self._held_bytes = 0
        for one in left:
            fate = self._choice.fate(one.keys)
            if fate is Fate.OPEN:
                self._held.append(one)
                self._held_bytes += len(one.rendered.body)
            elif fate is Fate.WATCHED:
                self._put(one.rendered, one.ktime_ns)
            else:
                self._count(one.rendered.record, "other")

    def fate_of(self, pid: int) -> Fate | None:
        """Return what becomes of what the process `pid` does; None: it is not known."""
        known = self._processes.get(pid)
        return self._choice.fate(known.keys) if known is not None else None

    # None: it is recorded, whoever is watched.
    def _keys(self, record: Record, ktime_ns: int) -> Keys | None:
        match record:
            case ProcessRecord():
                return self._follow(record, ktime_ns)
            case ConnectionRecord() | DnsRecord():
                return self._in_network(self._of(record.process), record.place)
            case EscapeRecord() | ExistingRecord():
                return self._of(record.process)
            case PlaceRecord():
                self._meet(record)
            case _:
                pass
        return None

    # Of what has no process, or one that is not known, nobody can say that it is not of
    # a container that is watched.
    def _of(self, actor: Actor | None) -> Keys | None:
        if actor is None:
            return None
        known = self._processes.get(actor.pid)
        if actor.container is None:
            return known.keys if known is not None else None
        if known is None:
            return frozenset((actor.container,))
        if actor.container not in known.keys:
            known.keys |= {actor.container}
        return known.keys

    def _follow(self, record: ProcessRecord, ktime_ns: int) -> Keys:
        before = self._processes.get(record.pid)
        keys = before.keys if before is not None else _LOST
        if record.event == "fork":
            parent = self._processes.get(record.ppid or 0)
            keys = parent.keys if parent is not None else _LOST
            if before is not None and _may_be_told_of(before, ktime_ns):
                keys |= before.keys
        if record.container is not None:
            keys |= {record.container}
        ended_ns = ktime_ns if record.event == "exit" else None
        self._processes[record.pid] = _Process(keys, ended_ns)
        self._bound(record.pid, is_ended=ended_ns is not None)
        return keys

    # What is forgotten is not known, and so watched.
    def _bound(self, pid: int, *, is_ended: bool) -> None:
        self._ended.pop(pid, None)
        if is_ended:
            self._ended[pid] = None
        if len(self._ended) > _MAX_ENDED:
            del self._processes[self._ended.popitem(last=False)[0]]
        if len(self._processes) > _MAX_PROCESSES:
            gone = self._processes.popitem(last=False)[0]
            self._ended.pop(gone, None)

    def _meet(self, place: PlaceRecord) -> None:
        if place.netns == self._home:
            return
        self._networks[place.number] = place.netns
        if len(self._networks) > _MAX_NETWORKS:
            self._networks.popitem(last=False)

    def _in_network(self, keys: Keys | None, place: int | None) -> Keys | None:
        netns = self._networks.get(place) if place else None
        if netns is None or keys is None:
            return keys
        known = self._residents.get(netns, _NONE)
        if not keys <= known:
            self._residents[netns] = known = known | keys
            if len(self._residents) > _MAX_NETWORKS:
                self._residents.popitem(last=False)
        return known

    def _hold(self, one: _Held) -> None:
        self._held.append(one)
        self._held_bytes += len(one.rendered.body)
        if len(self._held) > MAX_HELD or self._held_bytes > _MAX_HELD_BYTES:
            self._too_much(self._held[0].keys)

    def _count(self, record: Record, whose: str) -> None:
        if isinstance(record, ConnectionRecord) and record.relayed is None:
            self.dropped["connections"][whose] += 1
        elif isinstance(record, DnsRecord):
            self.dropped["queries"][whose] += record.count


# A look-up is told of when it is answered or given up: another may have its number.
def _may_be_told_of(one: _Process, now_ns: int) -> bool:
    return one.ended_ns is not None and now_ns - one.ended_ns < _REUSED_NS
