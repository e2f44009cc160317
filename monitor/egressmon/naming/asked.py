"""Which names each process asked for: on a shared address, its own are meant."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias

from egressmon.events.model import Address
from egressmon.values import dataclass

AskedBy: TypeAlias = Literal["thread", "process", "ancestor", "other"]
"""Who asked for a name, seen from a connection: the thread that makes it, another of
its process, a process that it descends from, or any other process."""

ProcessKey: TypeAlias = tuple[int, int]
"""A process: its pid and when it began (ns since boot), as pids are used again."""

_MAX_PLACES = 16384
_MAX_NAMES = 256
_MAX_THREADS = 64
_Turns: TypeAlias = tuple[tuple[int, int], ...]
# Of each thread: when it asked last, in turns. The thread that asked last is last.


@dataclass(frozen=True, slots=True)
class Asker:
    """A thread that asks for names and connects, and where it descends from."""

    process: ProcessKey
    thread: int
    ancestors: tuple[ProcessKey, ...] = ()
    """The nearest first."""


@dataclass(frozen=True, slots=True)
class Asking:
    """That a name was asked for: by whom, and in which turn (later is higher)."""

    by: AskedBy
    turn: int


class Asked:
    """Remembers who asked for which name of an address; the oldest go if too many."""

    def __init__(self) -> None:
        self._turn = 0
        self.forgotten = 0
        """How often something was forgotten, as it was too much."""
        self._places: OrderedDict[tuple[ProcessKey, Address], dict[str, _Turns]] = (
            OrderedDict()
        )

    def note(self, address: Address, name: str, asker: Asker | None) -> int:
        """Note that `asker` asked for `name`, which has `address`; returns the turn."""
        self._turn += 1
        if asker is None:
            return self._turn
        place = asker.process, address
        names = self._places.setdefault(place, {})
        self._places.move_to_end(place)
        others = [one for one in names.pop(name, ()) if one[0] != asker.thread]
        if len(others) >= _MAX_THREADS:
            del others[0]
            self.forgotten += 1
        names[name] = (*others, (asker.thread, self._turn))
        if len(names) > _MAX_NAMES:
            del names[next(iter(names))]
            self.forgotten += 1
        if len(self._places) > _MAX_PLACES:
            self._places.popitem(last=False)
            self.forgotten += 1
        return self._turn

    def forget(
        self, is_done: Callable[[ProcessKey], bool], is_named: Callable[[Address], bool]
    ) -> None:
        """Let go of what is asked for no more: no answer of `nearest` changes by it.

        That is, where a process `is_done`, and none that descends from it will connect
        any more; and where nothing of what it asked for `is_named` any more.
        """
        done = {key: is_done(key) for key in {key for key, _ in self._places}}
        for process, address in list(self._places):
            if done[process] or not is_named(address):
                del self._places[process, address]

    def nearest(self, address: Address, asker: Asker | None) -> Mapping[str, Asking]:
        """Return what `asker` asked for at `address`, or else its nearest ancestor."""
        if asker is None:
            return {}
        own = self._places.get((asker.process, address))
        if own:
            return dict(_own(own, asker.thread))
        for ancestor in asker.ancestors:
            names = self._places.get((ancestor, address))
            if names:
                return {
                    name: Asking("ancestor", turns[-1][1])
                    for name, turns in names.items()
                }
        return {}


def _own(names: Mapping[str, _Turns], thread: int) -> Iterator[tuple[str, Asking]]:
    for name, turns in names.items():
        turn = next((turn for one, turn in turns if one == thread), None)
        if turn is not None:
            yield name, Asking("thread", turn)
        else:
            yield name, Asking("process", turns[-1][1])
