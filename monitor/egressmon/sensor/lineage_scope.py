"""A scope that is some processes of the machine, and all that they start.

The probes are at the hierarchy's root and go by lineage alone. What was there before is
found in /proc once forks are seen: what the parent of which had ended by then is not.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from egressmon.sensor.found_scope import FoundScope, require_machine
from egressmon.sensor.scope import find_root, make_below
from egressmon.values import dataclass

_MAX_STAT = 4096
_MAX_ANCESTORS = 128


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which processes are watched."""

    described: str
    """For people: such as `process 812 (node), and what it starts`."""
    roots: tuple[tuple[int, int], ...]
    """Those that are watched with what they have started: pid, ticks of its start."""
    alone: tuple[tuple[int, int], ...] = ()
    """Those that are watched with what they start from now on."""
    session: int = 0
    """The session whose processes are, too; 0: none."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A process as /proc has it."""

    parent: int
    session: int
    ticks: int


class LineageScope(FoundScope):
    """Processes of the machine; the cgroup `path` has but those that send canaries."""

    goes_by_lineage = True

    def __init__(self, path: Path, fd: int, *, root: Path, lineage: Lineage) -> None:
        """`path` and `fd` are those of a cgroup of our own."""
        super().__init__(path, fd, root=root, watched=path)
        self.lineage = lineage
        # Mappings are told of by cgroup: of all, as these may be in any.
        self.mapped_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def described(self) -> str:
        """Return what is watched, for people."""
        return self.lineage.described

    def let_go(self) -> None:
        """Close the open folders, in a process that leaves the cgroup to another."""
        super().let_go()
        if self.mapped_fd is not None:
            os.close(self.mapped_fd)

    def members(self) -> list[int]:
        """Return the pids of the processes that are in it now."""
        return members(self.lineage, dict(_seen()))


def make_lineage_scope(lineage: Lineage) -> LineageScope:
    """Return the scope that is `lineage`; raises `ScopeError`."""
    require_machine()
    root = find_root()
    path, fd = make_below(root)
    return LineageScope(path, fd, root=root, lineage=lineage)


def members(lineage: Lineage, seen: Mapping[int, Seen]) -> list[int]:
    """Return which of the processes that were `seen`, by pid, are of `lineage`."""
    own = {pid for pid, one in seen.items() if _is_one(pid, one, lineage.roots)}
    if lineage.session:
        own |= {pid for pid, one in seen.items() if one.session == lineage.session}
    alone = {pid for pid, one in seen.items() if _is_one(pid, one, lineage.alone)}
    return sorted({pid for pid in seen if own & _upwards(pid, seen)} | alone)


def _is_one(pid: int, one: Seen, wanted: tuple[tuple[int, int], ...]) -> bool:
    return (pid, one.ticks) in wanted


# Itself, and those above it.
def _upwards(pid: int, seen: Mapping[int, Seen]) -> set[int]:
    found: set[int] = set()
    while pid in seen and pid not in found and len(found) < _MAX_ANCESTORS:
        found.add(pid)
        pid = seen[pid].parent
    return found


def _seen() -> Iterator[tuple[int, Seen]]:
    with os.scandir("/proc") as entries:
        names = [entry.name for entry in entries if entry.name.isdecimal()]
    for name in names:
        with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            yield int(name), _look(name)


def _look(name: str) -> Seen:
    with open(f"/proc/{name}/stat", "rb", buffering=0) as file:  # noqa: PTH123 -- hot
        words = file.read(_MAX_STAT).rpartition(b")")[2].split()
    return Seen(parent=int(words[1]), session=int(words[3]), ticks=int(words[19]))
