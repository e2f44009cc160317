"""Which names each process asked for: on a shared address, its own are meant."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

from egressmon.events.model import Address
from egressmon.values import dataclass

AskedBy: TypeAlias = Literal["thread", "process", "ancestor", "other"]
"""Who asked for a name, seen from a connection: the thread that makes it, another of
its process, a process that it descends from, or any other process."""

ProcessKey: TypeAlias = tuple[int, int]
"""A process: its pid and when it began (ns since boot), as pids are used again."""

_MAX_PLACES = 65536
_MAX_NAMES = 256
_MAX_THREADS = 64
_Turns: TypeAlias = dict[int, int]  # by thread: when it asked last, in turns


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
        turns = names.pop(name, {})
        turns.pop(asker.thread, None)
        turns[asker.thread] = self._turn
        names[name] = turns
        for bounded, limit in (
            (turns, _MAX_THREADS), (names, _MAX_NAMES), (self._places, _MAX_PLACES)
        ):  # fmt: skip
            if len(bounded) > limit:
                del bounded[next(iter(bounded))]  # type: ignore[arg-type]
                self.forgotten += 1
        return self._turn

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
                    name: Asking("ancestor", max(turns.values()))
                    for name, turns in names.items()
                }
        return {}


def _own(names: Mapping[str, _Turns], thread: int) -> Iterator[tuple[str, Asking]]:
    for name, turns in names.items():
        if thread in turns:
            yield name, Asking("thread", turns[thread])
        else:
            yield name, Asking("process", max(turns.values()))
