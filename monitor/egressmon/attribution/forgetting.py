"""Which processes nothing will be told of any more, in a run that lasts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

RECENT_NS = 600 * 1_000_000_000
"""How long a process that ended is kept in any case: what it sent may still be told."""
_DONE_NS = 120 * 1_000_000_000
_MOST_RECENT = 1024
"""How many that ended are kept however long ago that was."""


class One(Protocol):
    """A process, as `Process` is one."""

    @property
    def pid(self) -> int: ...
    @property
    def parent(self) -> int: ...
    @property
    def alive(self) -> bool: ...
    @property
    def start_ns(self) -> int: ...


def with_ancestors(known: Mapping[int, One], pids: Iterable[int]) -> set[int]:
    """Return `pids`, and those of all that they descend from, as far as is known."""
    found: set[int] = set()
    for pid in pids:
        above = pid
        while above not in found and above in known:
            found.add(above)
            above = known[above].parent
    return found


def forgettable(
    known: Mapping[int, One], ended: Mapping[int, int], now_ns: int
) -> Iterator[int]:
    """Yield the pids of processes that ended long ago, and of which none descends.

    `ended` has when each ended, in order. An ancestor of a living process is kept: it
    is named with whatever that does.
    """
    spare = len(ended) - _MOST_RECENT
    if spare <= 0:
        return
    needed = with_ancestors(known, (one.pid for one in known.values() if one.alive))
    for pid, ended_ns in ended.items():
        if spare <= 0 or ended_ns > now_ns - RECENT_NS:
            return
        if pid not in needed:
            spare -= 1
            yield pid


def unfinished(
    known: Mapping[int, One], ended: Mapping[int, int], now_ns: int
) -> set[tuple[int, int]]:
    """Return which processes may act, or have children that may: pids and starts.

    Until two minutes after its end what a process did may still be told.
    """
    late = now_ns - _DONE_NS
    acting = (
        pid for pid, one in known.items() if one.alive or ended.get(pid, now_ns) > late
    )
    return {(pid, known[pid].start_ns) for pid in with_ancestors(known, acting)}
