"""Which of an address's names a policy needs, and in which words: for `learn`."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord
from egressmon.naming.absent import Absent
from egressmon.naming.names import names_for_verdict
from egressmon.policy.judging.pointers import pointed_address
from egressmon.policy.language.search import SearchList
from egressmon.values import dataclass

_MAX = 65536
# Each of these has a list of names. Of what is forgotten, more names count than must.
_MAX_REACHED = 2048
_MAX_MET = 64  # names of one address
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Meant:
    """The names that a connection may have gone by."""

    names: tuple[str, ...] = ()
    each: bool = False
    """Whether each of them is needed; else one is enough."""
    others: tuple[str, ...] = ()
    """Names of the address that only processes asked for which are not its own."""
    judged: tuple[str, ...] = ()
    """The names that the verdict was based on."""


class LookUps:
    """What the look-ups of a run tell of its connections' names, in order."""

    def __init__(self) -> None:
        self._turn = 0
        self._asked: OrderedDict[tuple[int, int, str], int] = OrderedDict()
        """In which turn a thread of a process, or (0) any of it, asked for a name."""
        self._questions: OrderedDict[str, None] = OrderedDict()
        self._reached: OrderedDict[
            tuple[int, int, str], tuple[int, tuple[str, ...]]
        ] = OrderedDict()
        """In which turn a thread last connected to an address, and by which names."""
        self._met: OrderedDict[tuple[int, str], frozenset[str]] = OrderedDict()
        """The names by which a process may have connected to an address."""
        self._origins: OrderedDict[str, str] = OrderedDict()
        self._addresses: OrderedDict[str, None] = OrderedDict()
        self._whole: OrderedDict[str, None] = OrderedDict()
        self._absent = Absent()

    def add(self, record: DnsRecord) -> None:
        """Take in a look-up."""
        self._turn += 1
        if record.name is None:
            return
        _put(self._questions, record.name, None)
        if not record.trusted:
            return
        if record.kind in {"A", "AAAA"}:
            self._absent.note(record.name, is_there=record.status != "NXDOMAIN")
        for tid in (0, _tid(record.process)):
            _put(self._asked, (_pid(record.process), tid, record.name), self._turn)
        self._note_whole(record.name, record.process)
        for line in record.answers:
            _, kind, value = line.split(" ", 2)
            if kind in {"A", "AAAA"}:
                _put(self._addresses, value, None)
            elif kind == "CNAME" and value != record.name:
                origin = self._origins.get(record.name, record.name)
                _put(self._origins, value, origin)

    def meant(self, record: ConnectionRecord) -> Meant:
        """Take in a connection, and return the names that it may have gone by.

        Of several that its process asked for, those count that its thread, or else its
        process, asked for since it last connected to the address, and those that
        counted for no connection yet: in an asynchronous program any of them may be
        the one that is connected to first. What only others asked for counts for
        nothing: in another run they may ask later than this process connects.
        """
        names = record.dst.names
        if not names:
            return Meant()
        _put(self._addresses, record.dst.ip, None)
        for name in names:
            self._note_whole(name.name, record.process)
        best = names[0]
        judged = names_for_verdict(names)
        alike = tuple(one.name for one in names if one.asked_by == best.asked_by)
        if best.asked_by == "other":
            return Meant(others=self._first_asked(alike), judged=judged)
        if best.asked_by is None:
            return Meant(self._first_asked(judged), judged=judged)
        if best.asked_by != "ancestor":
            alike = self._last_asked(record)
        return Meant(self._first_asked(alike), each=True, judged=judged)

    # Every name must be among those of some connection: a thread may also connect by
    # what another one of its process asked for. Without a new one, it means what it
    # may have meant before.
    def _last_asked(self, record: ConnectionRecord) -> tuple[str, ...]:
        pid, tid, ip = _pid(record.process), _tid(record.process), record.dst.ip
        own = [one for one in record.dst.names if one.asked_by in {"thread", "process"}]
        last, before = self._reached.get((pid, tid, ip), (0, (own[0].name,)))
        threads = (one.name for one in own if one.asked_by == "thread")
        fresh = self._since(last, pid, tid, threads) or self._since(
            last, pid, 0, (one.name for one in own)
        )
        met = self._met.get((pid, ip), frozenset())
        new = (one.name for one in own if one.name not in met)
        found = tuple(dict.fromkeys((*fresh, *new))) or before
        self._turn += 1
        _put(self._reached, (pid, tid, ip), (self._turn, found), _MAX_REACHED)
        if len(met) < _MAX_MET:
            _put(self._met, (pid, ip), met.union(found), _MAX_REACHED)
        return found

    def _since(
        self, turn: int, pid: int, tid: int, names: Iterable[str]
    ) -> tuple[str, ...]:
        return tuple(
            name for name in names if self._asked.get((pid, tid, name), 0) > turn
        )

    # What an answer led to is not what somebody wants, and may be another tomorrow.
    def _first_asked(self, names: Iterable[str]) -> tuple[str, ...]:
        origins = (self._origins.get(name, name) for name in names)
        return tuple(dict.fromkeys(origins))

    def origin(self, name: str) -> tuple[str, ...]:
        """Return the name whose answers led to `name`, if there is one."""
        return (self._origins[name],) if name in self._origins else ()

    def is_learned_pointer(self, name: str) -> bool:
        """Tell whether `name` asks for the name of an address that was learned."""
        address = pointed_address(name)
        return address is not None and str(address) in self._addresses

    def short(self, name: str, search: SearchList) -> str:
        """Return `name` without the resolver's search domain, as on other machines.

        What somebody wrote out whole stays as it is.
        """
        if name in self._whole:
            return name
        # Below a search domain, it was asked for whole: a short one never is, twice.
        if any(f"{name}.{domain}" in self._questions for domain in search.domains):
            return name
        return next(search.shorter(name), name)

    def short_host(self, name: str, search: SearchList) -> str:
        """Return the same, if an entry with that host covers connections to `name`."""
        short = self.short(name, search)
        if search.is_short(short) or short in self._absent:
            return short
        return name

    def absent(self, names: Iterable[str], search: SearchList) -> tuple[str, ...]:
        """Return what `names` may have been completed from, and does not exist."""
        found = (short for name in names for short in search.shorter(name))
        return tuple(short for short in found if short in self._absent)

    def _note_whole(self, name: str, process: Actor | None) -> None:
        words = (process.argv if process else None) or ()
        if any(name in word.lower() for word in words):
            _put(self._whole, name, None)


def _pid(process: Actor | None) -> int:
    return process.pid if process else 0


def _tid(process: Actor | None) -> int:
    return process.tid if process else 0


def _put(
    known: OrderedDict[_Key, _Value], key: _Key, value: _Value, most: int = _MAX
) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)
