"""Where names are looked up: what was learned in one place names nothing in another.

A place is a network namespace: there, other servers may answer at the same addresses,
and the same address may be another machine's. The machine itself is place 0.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from egressmon.events.model import Address
from egressmon.evidence.records import PlaceRecord
from egressmon.naming.names import Names
from egressmon.policy.judging.judge import Judge
from egressmon.policy.language.search import NO_SEARCH, SearchList
from egressmon.values import dataclass, field, replace

if TYPE_CHECKING:
    from egressmon.naming.place_files import PlaceFiles

_MAX_PLACES = 512
_MAX_LOOKS = 8
_MAX_TAINTS = 8
HOME = 0
_EMBEDDED = ipaddress.ip_address("127.0.0.11")
"""Docker's resolver, in each network of its own: who answers there counts."""


class Here(Protocol):
    """What of an event tells where it happened, as events have it."""

    @property
    def ktime_ns(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def netns(self) -> int: ...


Look: TypeAlias = Callable[[int], "PlaceFiles"]
"""Returns what is believed of the files that the process with this pid sees."""
Tell: TypeAlias = Callable[[PlaceRecord, int], None]
"""Called with each record, and its kernel time in ns."""


@dataclass(slots=True)
class Place:
    """A network namespace, and what is known there."""

    number: int | None
    """None: nobody's, so that it is not known where."""
    names: Names
    judge: Judge
    is_home: bool = False
    version: int = 0
    """Another number once its judge is another, so that verdicts may be, too."""
    looks: int = 0
    """How often its files may still be looked at, as a process was gone."""
    servers: frozenset[Address] = frozenset()
    """The resolvers that its files name, which the policy may have trusted."""
    told: PlaceRecord | None = None
    taints: list[str] = field(default_factory=list[str])
    """Why what is answered there by this machine may be another's word."""


class Where(NamedTuple):
    """What places are told by."""

    home: Callable[[], int | None]
    """Returns the machine's own network namespace, once it is known."""
    look: Look
    comm: Callable[[int], str]
    """Returns the name of the process with this pid."""
    tell: Tell


class Places:
    """The places of a run: at most 512; what was met longest ago goes.

    What goes and is met again is another place, where nothing is known yet.
    """

    def __init__(self, names: Names, judge: Judge, where: Where | None = None) -> None:
        """`names` and `judge` are the machine's. Without `where` all is one place."""
        self.home = Place(HOME, names, judge, is_home=True)
        self._nowhere = Place(None, Names(names), judge)
        self._where = where
        self._known: OrderedDict[int, Place] = OrderedDict()
        self._count = 0
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many names were dropped, because there were too many."""
        names = (self.home.names, *(one.names for one in self._known.values()))
        return self._dropped + sum(one.dropped for one in names)

    def of(self, event: Here) -> Place:
        """Return where `event` happened."""
        where = self._where
        if where is None:
            return self.home
        if not event.netns:
            return self._nowhere
        if event.netns == where.home():
            return self.home
        place = self._known.get(event.netns)
        if place is None:
            place = self._add(event.netns)
        else:
            self._known.move_to_end(event.netns)
        if place.looks and event.pid:
            self._look(place, event, where)
        return place

    def _add(self, netns: int) -> Place:
        self._count += 1
        place = Place(self._count, Names(self.home.names), self._judge())
        place.looks = _MAX_LOOKS
        self._known[netns] = place
        if len(self._known) > _MAX_PLACES:
            _, oldest = self._known.popitem(last=False)
            self._dropped += oldest.names.dropped
        return place

    # The first time it is told in any case; and again if more is known.
    def _look(self, place: Place, event: Here, where: Where) -> None:
        found = where.look(event.pid)
        if found.is_read:
            place.looks = 0
        elif not found.is_machines:
            place.looks -= 1
        if place.told is not None and not found.is_read:
            return
        place.version += 1
        place.servers = frozenset(found.servers)
        place.judge = self._judge(place.servers, found.search)
        for address, name in found.hosts:
            place.names.learn(address, name, "hosts-file")
        place.told = _record(place, event, where.comm(event.pid), found)
        where.tell(place.told, event.ktime_ns)

    def judge_by(self, judge: Judge) -> list[PlaceRecord]:
        """Judge by the policy of `judge` in all places, and tell what they are now.

        `judge` is the machine's.
        """
        self.home.judge = self._nowhere.judge = judge
        told: list[PlaceRecord] = []
        for place in self._known.values():
            place.version += 1
            place.judge = self._judge(place.servers, place.judge.search)
            if place.told is not None:
                resolvers = sorted(map(str, place.judge.resolvers))
                place.told = replace(place.told, resolvers=resolvers)
                told.append(place.told)
        return told

    def _judge(
        self, servers: Iterable[Address] = (), search: SearchList = NO_SEARCH
    ) -> Judge:
        judge = self.home.judge
        if judge.policy.dns.resolvers != "system":
            return judge.at(judge.resolvers, search)
        return judge.at(judge.resolvers.union(servers, (_EMBEDDED,)), search)


def taint(place: Place, why: str) -> None:
    """Note `why` what this machine answers in `place` may be another's word."""
    if why not in place.taints and len(place.taints) < _MAX_TAINTS:
        place.taints.append(why)


def _record(place: Place, event: Here, comm: str, found: "PlaceFiles") -> PlaceRecord:
    assert place.number is not None  # noqa: S101 -- nobody's is not looked at
    return PlaceRecord(
        number=place.number,
        netns=event.netns,
        pid=event.pid,
        comm=comm,
        resolvers=sorted(map(str, place.judge.resolvers)),
        search=list(place.judge.search.domains),
        ndots=place.judge.search.ndots,
        hosts=len(found.hosts),
        reasons=list(found.reasons),
    )
