"""The cgroups of the v2 hierarchy by their ids, which never are used again."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from egressmon.events.model import CgroupChanged
from egressmon.text import from_bytes
from egressmon.values import dataclass

MAX_CGROUPS = 16384
MAX_GONE = 4096
_MAX_LEVELS = 64
_MAX_OWN = 8192
_REMOVED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A cgroup of the v2 hierarchy, which may be gone by now."""

    id: int
    """The inode number of its folder."""
    path: str
    """From the hierarchy's root."""
    maker: int
    """The uid of who made it, or who owns its folder."""


def walk(root: str, limit: int = MAX_CGROUPS) -> list[Cgroup]:
    """Return `root`, the hierarchy's, and the cgroups below it that are there now.

    At most `limit` of them, and from the top: what is made meanwhile may be missing.
    Raises OSError if `root` cannot be read.
    """
    found = [Cgroup(os.stat(root).st_ino, "/", 0)]  # noqa: PTH116 -- as below
    level: list[bytes] = [b""]
    place = os.fsencode(root)
    for _ in range(_MAX_LEVELS):
        below: list[bytes] = []
        for path in level:
            for name, entry in _folders(place + path):
                if len(found) >= limit:
                    return found
                below.append(path + b"/" + name)
                found.append(Cgroup(entry.st_ino, from_bytes(below[-1]), entry.st_uid))
        level = below
    return found


def _folders(path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name, entry.stat(follow_symlinks=False)
    except OSError:
        return  # it was removed meanwhile


def members() -> dict[int, str]:
    """Return of each process of the machine the path of its cgroup."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 -- text
        if name.isdecimal() and (path := path_of(int(name))) is not None:
            found[int(name)] = path
    return found


def path_of(pid: int) -> str | None:
    """Return the path of the cgroup in which `pid` is; None: it has ended."""
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as file:  # noqa: PTH123 -- bounded
            lines = file.read(_MAX_OWN).split(b"\n")
    except OSError:
        return None
    paths = [line[3:] for line in lines if line.startswith(b"0::")]
    return from_bytes(paths[0]).removesuffix(_REMOVED) if paths else None


class Cgroups:
    """What is known of each cgroup, bounded; one that is gone is kept for a while.

    An event may be told after the cgroup was removed, in which it happened.
    """

    def __init__(self, found: Iterable[Cgroup] = ()) -> None:
        """Begin with those that were `found`."""
        self._known: OrderedDict[int, Cgroup] = OrderedDict()
        self._gone: OrderedDict[int, None] = OrderedDict()
        self._ids: dict[str, int] = {}
        self.dropped = 0
        """How many were forgotten while they were there, as there were too many."""
        self.add(found)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, found: Iterable[Cgroup]) -> None:
        """Add cgroups that are there."""
        for one in found:
            self._put(one)

    def on_change(self, event: CgroupChanged) -> None:
        """Follow `event`."""
        if event.is_made:
            if not event.is_cut:
                self._put(Cgroup(event.cgroup, event.path, event.uid))
        elif event.cgroup in self._known:
            self._gone[event.cgroup] = None
            if len(self._gone) > MAX_GONE:
                self._forget(self._gone.popitem(last=False)[0])

    def lookup(self, number: int) -> Cgroup | None:
        """Return the cgroup with that id; None: it is not known."""
        return self._known.get(number)

    def all(self) -> list[Cgroup]:
        """Return what is known of all."""
        return list(self._known.values())

    def at(self, path: str) -> Cgroup | None:
        """Return the newest cgroup that was made at `path`."""
        number = self._ids.get(path)
        return self._known.get(number) if number is not None else None

    def _put(self, one: Cgroup) -> None:
        if one.id in self._known:
            return
        self._known[one.id] = one
        self._ids[one.path] = one.id
        if len(self._known) > MAX_CGROUPS:
            if not self._gone:
                self.dropped += 1
            self._forget(next(iter(self._gone or self._known)))

    def _forget(self, number: int) -> None:
        self._gone.pop(number, None)
        one = self._known.pop(number, None)
        if one is not None and self._ids.get(one.path) == number:
            del self._ids[one.path]
