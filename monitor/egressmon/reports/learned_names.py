"""Which of an address's names a policy needs, and in which words: for `learn`."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

from egressmon.evidence.records import Actor, ConnectionRecord, DnsRecord
from egressmon.policy.pointers import pointed_address
from egressmon.values import dataclass

_MAX = 65536
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Meant:
    """The names that a connection may have gone by."""

    names: tuple[str, ...] = ()
    each: bool = False
    """Whether each of them is needed; else one is enough."""


class LookUps:
    """What the look-ups of a run tell of its connections' names, in order."""

    def __init__(self) -> None:
        self._turn = 0
        self._asked: OrderedDict[tuple[int, str], int] = OrderedDict()
        self._questions: OrderedDict[str, None] = OrderedDict()
        self._reached: OrderedDict[tuple[int, str], int] = OrderedDict()
        self._origins: OrderedDict[str, str] = OrderedDict()
        self._addresses: OrderedDict[str, None] = OrderedDict()
        self._whole: OrderedDict[str, None] = OrderedDict()

    def add(self, record: DnsRecord) -> None:
        """Take in a look-up."""
        self._turn += 1
        if record.name is None:
            return
        _put(self._questions, record.name, None)
        if not record.trusted:
            return
        _put(self._asked, (_pid(record.process), record.name), self._turn)
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

        Of several that its process asked for, those count that it asked for since it
        last connected to the address: in an asynchronous program any of them may be
        the one that is connected to first.
        """
        if not record.dst.names:
            return Meant()
        _put(self._addresses, record.dst.ip, None)
        for name in record.dst.names:
            self._note_whole(name.name, record.process)
        best = record.dst.names[0]
        alike = tuple(
            name.name for name in record.dst.names if name.asked_by == best.asked_by
        )
        if best.asked_by == "ancestor":
            return self._first_asked(alike, each=True)
        if best.asked_by not in {"thread", "process"}:
            return self._first_asked(
                (name.name for name in record.dst.names), each=False
            )
        fresh = self._fresh(_pid(record.process), record.dst.ip, alike)
        return self._first_asked(fresh or (best.name,), each=True)

    def _fresh(self, pid: int, ip: str, names: Iterable[str]) -> tuple[str, ...]:
        last = self._reached.get((pid, ip), 0)
        self._turn += 1
        _put(self._reached, (pid, ip), self._turn)
        return tuple(name for name in names if self._asked.get((pid, name), 0) > last)

    # What an answer led to is not what somebody wants, and may be another tomorrow.
    def _first_asked(self, names: Iterable[str], *, each: bool) -> Meant:
        origins = (self._origins.get(name, name) for name in names)
        return Meant(tuple(dict.fromkeys(origins)), each)

    def origin(self, name: str) -> tuple[str, ...]:
        """Return the name whose answers led to `name`, if there is one."""
        return (self._origins[name],) if name in self._origins else ()

    def is_learned_pointer(self, name: str) -> bool:
        """Tell whether `name` asks for the name of an address that was learned."""
        address = pointed_address(name)
        return address is not None and str(address) in self._addresses

    def short(self, name: str, search: tuple[str, ...]) -> str:
        """Return `name` without the resolver's search domain, as on other machines.

        What somebody wrote out whole stays as it is.
        """
        if name in self._whole:
            return name
        # Below a search domain, it was asked for whole: a short one never is, twice.
        if any(f"{name}.{domain}" in self._questions for domain in search):
            return name
        for domain in search:
            if name.endswith("." + domain):
                return name.removesuffix("." + domain)
        return name

    def _note_whole(self, name: str, process: Actor | None) -> None:
        words = (process.argv if process else None) or ()
        if any(name in word.lower() for word in words):
            _put(self._whole, name, None)


def _pid(process: Actor | None) -> int:
    return process.pid if process else 0


def _put(known: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MAX:
        known.popitem(last=False)
