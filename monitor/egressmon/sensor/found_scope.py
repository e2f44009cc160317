"""A scope that is there before the run: a cgroup that others made, or the machine.

Nothing in it is started, ended or removed. Canaries are sent from a cgroup of our own
below it, so that what refuses them is attached to that one alone.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from egressmon import host
from egressmon.errors import ScopeError
from egressmon.sensor.scope import Scope, find_root, make_below

_CONTAINED = "run egressmon in the machine's own namespaces (docker run --privileged "
_OPTIONS = "--cgroupns=host --pid=host)"


class FoundScope(Scope):
    """A cgroup that others made, and one of our own below it, which is `path`."""

    goes_by_lineage = False
    """Whether processes are in it by who started them, and not by their cgroup."""

    def __init__(self, path: Path, fd: int, *, root: Path, watched: Path) -> None:
        """`path` and `fd` are those of our own; `watched` is the other."""
        super().__init__(path, fd, root=root)
        self.watched = watched
        self.watched_fd = os.open(watched, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def is_machine(self) -> bool:
        """Whether all processes of the machine are in it."""
        return self.watched == self.root

    @property
    def watched_level(self) -> int:
        """How many levels the watched cgroup is below the hierarchy's root."""
        return len(self.watched.relative_to(self.root).parts)

    def members(self) -> list[int]:
        """Return the pids of the processes that are in it now."""
        if self.is_machine:
            return [int(name) for name in _listed("/proc") if name.isdecimal()]
        found: set[int] = set()
        for folder in (self.watched, *self.watched.glob("**/")):
            with suppress(OSError):  # it was removed meanwhile
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
        return sorted(found)


def find_scope(watched: Path | None) -> FoundScope:
    """Return the scope of the cgroup whose folder is `watched`; None: the machine.

    Raises `ScopeError`, also where what looks like the machine is a container.
    """
    require_machine()
    root = find_root()
    place = watched_folder(root, watched)
    try:
        path, fd = make_below(place)
    except OSError as error:
        raise ScopeError(
            f"no cgroup could be made in {place}: {error.strerror}",
            "run as root, and name a cgroup that may have others below it",
        ) from error
    return FoundScope(path, fd, root=root, watched=place)


def watched_folder(root: Path, watched: Path | None) -> Path:
    """Return the folder of the cgroup `watched` below `root`; None: `root` itself.

    Raises `ScopeError` if it is none.
    """
    return root if watched is None else _below(root, watched)


def require_machine() -> None:
    """Raise `ScopeError` where what looks like the machine is a container."""
    if not host.hierarchy_is_whole() or not host.proc_is_ours():
        raise ScopeError(
            "this is a container, from which the machine's cgroups and processes are "
            "not seen",
            _CONTAINED + _OPTIONS,
        )


def _below(root: Path, watched: Path) -> Path:
    # As /proc/PID/cgroup has it: /system.slice/docker.service
    named = watched if watched.is_relative_to(root) else None
    place = named or root / str(watched).lstrip("/")
    place = place.resolve()
    if not place.is_relative_to(root) or not (place / "cgroup.procs").exists():
        raise ScopeError(
            f"{watched} is no cgroup of the v2 hierarchy",
            f"name one as /proc/PID/cgroup does, or its folder below {root}",
        )
    return place


def _listed(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)
