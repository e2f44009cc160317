"""Where names are looked up: what was learned in one place names nothing in another.

A place is a network namespace: there, other servers may answer at the same addresses,
and the same address may be another machine's. Containers that share one are places of
their own, too. The machine itself is place 0.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from egressmon.events.model import Address
from egressmon.evidence.records.traffic import PlaceRecord
from egressmon.naming.asked import ProcessKey
from egressmon.naming.names import Names
from egressmon.policy.judging.judge import Judge
from egressmon.policy.language.search import NO_SEARCH, SearchList
from egressmon.values import dataclass, field, replace

if TYPE_CHECKING:
    from egressmon.naming.place_files import PlaceFiles

_MAX_PLACES = 512
_MAX_LOOKS = 8
_MAX_TAINTS = 8
_MAX_SERVED = 64
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
    @property
    def cgroup(self) -> int: ...


Look: TypeAlias = Callable[[int], "PlaceFiles"]
"""Returns what is believed of the files that the process with this pid sees."""
Tell: TypeAlias = Callable[[PlaceRecord, int], None]
"""Called with each record, and its kernel time in ns."""


_Key: TypeAlias = tuple[int, str | None]
"""A network namespace, and which container it is."""


@dataclass(slots=True)
class Place:
    """A network namespace, or a container in one, and what is known there."""

    number: int | None
    """None: nobody's, so that it is not known where."""
    names: Names
    judge: Judge
    is_home: bool = False
    version: int = 0
    """Another number once its judge is another, so that verdicts may be, too."""
    container: str | None = None
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
    container: Callable[[Here], str | None]
    """Returns which container it is; None: none, as far as is known."""
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
        self._known: OrderedDict[_Key, Place] = OrderedDict()
        self._served: list[Address] = []
        self._taints: OrderedDict[int, list[str]] = OrderedDict()
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
        home = where.home()
        if not event.netns or home is None:
            return self._nowhere
        container = where.container(event)
        if container is None and event.netns == home:
            return self.home
        key = event.netns, container
        place = self._known.get(key)
        if place is None:
            place = self._add(key)
        else:
            self._known.move_to_end(key)
        if place.looks and event.pid:
            self._look(place, event, where)
        return place

    def forget(self, now_ns: int, is_done: Callable[[ProcessKey], bool]) -> int:
        """Let go of names in all places, as `Names.forget` does; return how many."""
        places = (self.home, self._nowhere, *self._known.values())
        return sum(one.names.forget(now_ns, is_done) for one in places)

    def _add(self, key: _Key) -> Place:
        self._count += 1
        place = Place(self._count, Names(self.home.names), self._judge())
        place.looks = _MAX_LOOKS
        place.container = key[1]
        place.taints = self._taints_of(key[0])
        self._known[key] = place
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
        place.servers = frozenset((*found.servers, *self._served))
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

    def serve(self, event: Here, server: Address) -> None:
        """Note that a service of the machine's answers at `server`, in its network.

        It may be asked in all places. Those that were told of are told of anew.
        """
        where, home = self._where, self.home.judge.resolvers
        if where is None or event.netns != where.home() or server.is_loopback:
            return
        if server in home or server in self._served or len(self._served) >= _MAX_SERVED:
            return
        self._served.append(server)
        for place in self._known.values():
            if place.told is None or server in place.servers:
                continue
            place.version += 1
            place.servers |= {server}
            place.judge = self._judge(place.servers, place.judge.search)
            resolvers = sorted(map(str, place.judge.resolvers))
            place.told = replace(place.told, resolvers=resolvers)
            where.tell(place.told, event.ktime_ns)

    def taint(self, event: Here, why: str) -> None:
        """Note `why` what is answered by this machine in a network is another's word.

        It is asked in the name of all that are in that network.
        """
        taints = self._taints_of(event.netns)
        if why not in taints and len(taints) < _MAX_TAINTS:
            taints.append(why)

    # One list for all places of a network.
    def _taints_of(self, netns: int) -> list[str]:
        taints = self._taints.setdefault(netns, [])
        self._taints.move_to_end(netns)
        if len(self._taints) > _MAX_PLACES:
            self._taints.popitem(last=False)
        return taints


def _record(place: Place, event: Here, comm: str, found: "PlaceFiles") -> PlaceRecord:
    assert place.number is not None  # noqa: S101 -- nobody's is not looked at
    return PlaceRecord(
        number=place.number,
        netns=event.netns,
        container=place.container,
        pid=event.pid,
        comm=comm,
        resolvers=sorted(map(str, place.judge.resolvers)),
        search=list(place.judge.search.domains),
        ndots=place.judge.search.ndots,
        hosts=len(found.hosts),
        reasons=list(found.reasons),
    )
