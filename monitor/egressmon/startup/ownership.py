"""Who, other than root, can change the code that this process runs.

Code that another user can write is that user's: root must not run it. This module
stands alone (no import of ours), so that it can look before anything else is loaded.
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_LINKS = 40  # as the kernel (MAXSYMLINKS, include/linux/namei.h)
_WHOLE = "         0          0 4294967295\n"


class ForeignCodeError(Exception):
    """Code that would run as root is not root's alone."""


def obstacle(path: str) -> str:
    """Return why path is not root's alone, or "" if only root can change it.

    Looks at `path`, at each folder above it, and at where symbolic links lead. A
    folder that all may write is fine if it is sticky: what root owns in there can
    only be replaced by root. Write bits of an ACL show in the group's (acl(5)).
    """
    pending, at, links = _parts(os.path.abspath(path)), "/", 0  # noqa: PTH100 -- pathlib is not loaded yet
    while pending:
        at = os.path.join(at, pending.pop(0))  # noqa: PTH118 -- as above
        try:
            found = os.lstat(at)
        except OSError:
            return ""  # only who can write the folder above can make it
        if reason := _reason(at, found):
            return reason
        if stat.S_ISLNK(found.st_mode):
            if (links := links + 1) > _LINKS:
                return f"{at} leads nowhere"
            target = os.path.join(os.path.dirname(at), os.readlink(at))  # noqa: PTH115,PTH118,PTH120
            pending, at = [*_parts(target), *pending], "/"
    return ""


# Not normalised: `..` behind a symbolic link is the parent of where it leads.
def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _reason(path: str, found: os.stat_result) -> str:
    if found.st_uid != 0:
        return f"{path} belongs to uid {found.st_uid}"
    if stat.S_ISLNK(found.st_mode) or not found.st_mode & _OTHERS_WRITE:
        return ""
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return ""
    who = "everybody" if found.st_mode & stat.S_IWOTH else f"gid {found.st_gid}"
    return f"{path} can be written by {who}"


def obstacle_in_tree(folder: str) -> str:
    """Return why folder, or anything in it, is not root's alone, or ""."""
    if reason := obstacle(folder):
        return reason
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(above, name)  # noqa: PTH118 -- as above
            reason = _reason(path, os.lstat(path))
            if reason or (os.path.islink(path) and (reason := obstacle(path))):  # noqa: PTH114
                return reason
    return ""


def obstacle_to_root() -> str:
    """Return why this process's code is not root's alone, or "" if it is."""
    check = Guard().check
    try:
        for path in _started_from():
            check(path)
    except ForeignCodeError as error:
        return str(error)
    for folder in _own_folders():
        if reason := obstacle_in_tree(folder):
            return reason
    return ""


# The interpreter, its libraries, and what it ran by itself before our first line.
def _started_from() -> Iterator[str]:
    yield sys.executable
    for prefix in dict.fromkeys((sys.prefix, sys.base_prefix)):
        yield prefix
        yield f"{prefix}/pyvenv.cfg"
    for folder in sys.path:
        yield folder
        yield from _path_files(folder)
    for module in [*sys.modules.values()]:
        yield from _files(getattr(module, "__spec__", None))


# What site(7) reads, and may run lines of.
def _path_files(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 -- as above
    except OSError:
        return []
    return [f"{folder}/{name}" for name in names if name.endswith(".pth")]


def _files(spec: ModuleSpec | None) -> Iterator[str]:
    if spec is not None and spec.has_location and spec.origin is not None:
        yield spec.origin
        if spec.cached is not None:
            yield spec.cached


# The probes' objects are code too, and are no module's.
def _own_folders() -> Iterable[str]:
    return list(sys.modules["egressmon"].__path__)


def is_machine_root() -> bool:
    """Test whether this process is root, and not only in a user namespace."""
    if os.geteuid() != 0:
        return False
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:  # noqa: PTH123
            return file.read() == _WHOLE
    except OSError:
        return True


class Guard:
    """The import system's search of folders, refusing files that are not root's."""

    def __init__(self) -> None:
        self._fine: set[str] = set()

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return what PathFinder finds; raises ForeignCodeError."""
        spec = PathFinder.find_spec(name, path, target)
        for file in _files(spec):
            self.check(file)
        return spec

    def find_distributions(self, *context: Any) -> Iterable[Any]:
        """Return what PathFinder finds for importlib.metadata."""
        return PathFinder.find_distributions(*context)

    def invalidate_caches(self) -> None:
        """Forget what PathFinder remembers of folders."""
        PathFinder.invalidate_caches()

    def check(self, path: str) -> None:
        """Raise ForeignCodeError unless path is root's alone; each folder once."""
        folder = os.path.dirname(path)  # noqa: PTH120 -- as above
        if folder not in self._fine:
            if reason := obstacle(folder):
                raise ForeignCodeError(reason)
            self._fine.add(folder)
        try:
            found = os.lstat(path)
        except OSError:
            return
        is_link = stat.S_ISLNK(found.st_mode)
        if reason := obstacle(path) if is_link else _reason(path, found):
            raise ForeignCodeError(reason)


def guard_imports() -> None:
    """Have every import from now on refuse files that are not root's alone."""
    place = sys.meta_path.index(PathFinder)
    sys.meta_path[place] = Guard()
