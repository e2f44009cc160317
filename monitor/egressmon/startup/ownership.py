"""Find code of this process that others than root can change: root must not run it.

This module imports nothing else of egressmon, so that it can check the other modules
before they are loaded.
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_LINKS = 40  # the kernel's limit (MAXSYMLINKS, include/linux/namei.h)
# The text of /proc/self/uid_map in the first user namespace: every uid maps to itself.
_WHOLE = "         0          0 4294967295\n"


class ForeignCodeError(Exception):
    """Others than root can change code that is about to run as root."""


def obstacle(path: str) -> str:
    """Return why others than root can change `path`, or "" if only root can.

    `path`, each folder above it and the targets of symbolic links must belong to root,
    and only root may write them. A sticky folder is fine: others cannot replace root's
    files in it. Write permissions in an ACL show in the group's mode bits (acl(5)).
    """
    pending, at, links = _parts(os.path.abspath(path)), "/", 0  # noqa: PTH100 -- pathlib is not loaded yet
    while pending:
        at = os.path.join(at, pending.pop(0))  # noqa: PTH118 -- as above
        try:
            found = os.lstat(at)
        except OSError:
            return ""  # missing, and only root can create it in the folder above
        if reason := _reason(at, found):
            return reason
        if stat.S_ISLNK(found.st_mode):
            if (links := links + 1) > _LINKS:
                return f"{at} leads nowhere"
            target = os.path.join(os.path.dirname(at), os.readlink(at))  # noqa: PTH115,PTH118,PTH120
            pending, at = [*_parts(target), *pending], "/"
    return ""


# `..` stays: after a symbolic link it means the parent of the link's target.
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
    """Return why others than root can change `folder` or anything in it, or ""."""
    if reason := obstacle(folder):
        return reason
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(above, name)  # noqa: PTH118 -- as above
            found = os.lstat(path)
            reason = _reason(path, found)
            if reason or (stat.S_ISLNK(found.st_mode) and (reason := obstacle(path))):
                return reason
    return ""


def obstacle_to_root() -> str:
    """Return why others than root can change this process's code, or "" if none can."""
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


# The interpreter, its libraries, and everything that it has loaded so far.
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


# Python's `site` module reads .pth files at each start, and runs some of their lines.
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


# Our own folders are checked as a whole: the probes' object files are code, too, but
# not modules.
def _own_folders() -> Iterable[str]:
    return list(sys.modules["egressmon"].__path__)


def is_machine_root() -> bool:
    """Tell whether this process is the machine's root, not only a user namespace's."""
    if os.geteuid() != 0:
        return False
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:  # noqa: PTH123
            return file.read() == _WHOLE
    except OSError:
        return True


class Guard:
    """An import finder like PathFinder, which refuses files that others can change."""

    def __init__(self) -> None:
        self._fine: set[str] = set()

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return what PathFinder finds.

        Raises `ForeignCodeError` if others than root can change the file.
        """
        spec = PathFinder.find_spec(name, path, target)
        for file in _files(spec):
            self.check(file)
        return spec

    def find_distributions(self, *context: Any) -> Iterable[Any]:
        """Return what PathFinder finds for importlib.metadata."""
        return PathFinder.find_distributions(*context)

    def invalidate_caches(self) -> None:
        """Clear PathFinder's caches."""
        PathFinder.invalidate_caches()

    def check(self, path: str) -> None:
        """Raise `ForeignCodeError` if others than root can change `path`.

        Each folder is looked at only once.
        """
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
    """Make every later import refuse files that others than root can change."""
    place = sys.meta_path.index(PathFinder)
    sys.meta_path[place] = Guard()
