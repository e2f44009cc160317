"""Find the native code below folders, and the records of packages beside it.

All regular files are looked at, whatever they are called. Links are not followed into
folders; a link to a file elsewhere is that file, by the link's name.
"""

import os
import stat
from collections.abc import Iterator

from egressmon import files
from egressmon.inspection.distributions import Site
from egressmon.inspection.findings import Remarks
from egressmon.inspection.program import is_native

_MOST_ENTRIES = 2_000_000
_MOST_NATIVE = 50_000
_HEAD = 20
_RECORDS = (".dist-info", ".egg-info")
_ZIPPED = (".egg", ".pyz", ".whl")


class Tree:
    """What is below some folders; filled by `walk`."""

    def __init__(self) -> None:
        self.native: dict[str, None] = {}
        """The paths of all native code, in order of name in each folder."""
        self.sites: dict[str, Site] = {}
        self.remarks = Remarks()
        self.looked_at = 0
        """How many files were opened."""
        self._entries = 0
        self._folders: set[tuple[int, int]] = set()
        self._roots: list[str] = []

    def walk(self, roots: list[str]) -> None:
        """Look at all that is below the folders `roots`, each once."""
        self._roots += [f"{os.path.realpath(root)}/" for root in roots]
        for root in roots:
            try:
                is_folder = stat.S_ISDIR(os.stat(root).st_mode)  # noqa: PTH116 -- as given
            except (OSError, ValueError) as error:
                self._not_read(root, _why(error))
                continue
            if is_folder:
                self._below(root.rstrip("/") or "/")
            else:
                self.look_at(root)

    def look_at(self, path: str) -> None:
        """Remember the file at `path` if it is native code."""
        if path in self.native:
            return
        self.looked_at += 1
        try:
            head = files.read(path, _HEAD)
        except (OSError, ValueError) as error:
            self._not_read(path, _why(error))
            return
        if is_native(head):
            if len(self.native) >= _MOST_NATIVE:
                self._full(f"more than {_MOST_NATIVE} files of native code")
            else:
                self.native[path] = None
        elif path.endswith(_ZIPPED) and head.startswith(b"PK"):
            self._not_read(path, "what is in archives is not inspected")

    # A list, not recursion: folders may be nested deeper than Python's calls.
    def _below(self, root: str) -> None:
        folders = [root]
        while folders and self._entries < _MOST_ENTRIES:
            folder = folders.pop()
            try:
                status = os.stat(folder, follow_symlinks=folder == root)  # noqa: PTH116
                if (status.st_dev, status.st_ino) in self._folders:
                    continue
                self._folders.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as found:
                    inside = sorted(self._bounded(found), key=lambda one: one.name)
            except OSError as error:
                self._not_read(folder, _why(error))
                continue
            if any(one.name.endswith(_RECORDS) for one in inside):
                self._site(folder, [one.name for one in inside])
            deeper = [one.path for one in inside if self._entry(one)]
            folders += reversed(deeper)
        if self._entries >= _MOST_ENTRIES:
            self._full(f"more than {_MOST_ENTRIES} files and folders")

    def _bounded(
        self, found: Iterator["os.DirEntry[str]"]
    ) -> Iterator["os.DirEntry[str]"]:
        for one in found:
            self._entries += 1
            if self._entries > _MOST_ENTRIES:
                return
            yield one

    def _site(self, folder: str, names: list[str]) -> None:
        self.sites[folder] = Site(folder, names, self.remarks)

    # Whether it is a folder, to be entered.
    def _entry(self, entry: "os.DirEntry[str]") -> bool:
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError as error:
            self._not_read(entry.path, _why(error))
            return False
        if stat.S_ISDIR(mode):
            return True
        if stat.S_ISREG(mode):
            self.look_at(entry.path)
        elif stat.S_ISLNK(mode):
            self._link(entry.path)
        return False  # nothing else can be loaded

    def _link(self, path: str) -> None:
        try:
            target = os.path.realpath(path, strict=True)
            mode = os.stat(target).st_mode  # noqa: PTH116 -- a path as text
        except (OSError, ValueError):
            return  # it leads nowhere, or in circles
        if f"{target}/".startswith(tuple(self._roots)):
            return  # found at its own place
        if stat.S_ISREG(mode):
            self.look_at(path)
        elif stat.S_ISDIR(mode):
            what = f"a link to a folder elsewhere: {target}"
            self._not_read(path, what)

    def _not_read(self, path: str, why: str) -> None:
        self.remarks.add(path, why)

    def _full(self, why: str) -> None:
        self.remarks.add("", f"{why}: the rest was not looked at")


def _why(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
