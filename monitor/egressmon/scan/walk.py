"""Find the files to search below the paths that were asked for.

Only regular files are opened. Links are not followed: what they lead to is either
found at its own place, or is no part of what was asked for.
"""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_LEFT_OUT = ".git"


class Entry(NamedTuple):
    """A path, and why it is not searched; "" if it is."""

    path: str
    reason: str = ""
    is_problem: bool = False
    """Whether it should have been searched."""


def entries(paths: list[str]) -> Iterator[Entry]:
    """Yield the files at `paths` and below, those of each folder in order of name."""
    for path in paths:
        try:
            mode = os.lstat(path).st_mode
        except (OSError, ValueError) as error:
            yield Entry(path, _why(error), is_problem=True)
            continue
        if stat.S_ISDIR(mode):
            yield from _below(path)
        elif stat.S_ISREG(mode):
            yield Entry(path)
        else:
            yield Entry(path, _no_file(mode), is_problem=True)


# A list, not recursion: folders may be nested deeper than Python's calls.
def _below(folder: str) -> Iterator[Entry]:
    folders = [folder]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as found:
                inside = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Entry(folder, _why(error), is_problem=True)
            continue
        deeper: list[str] = []
        for entry in inside:
            yield from _entry(entry, deeper)
        folders += reversed(deeper)


def _entry(entry: "os.DirEntry[str]", deeper: list[str]) -> Iterator[Entry]:
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        yield Entry(entry.path, _why(error), is_problem=True)
        return
    if stat.S_ISREG(mode):
        yield Entry(entry.path)
    elif not stat.S_ISDIR(mode):
        yield Entry(entry.path, _no_file(mode))
    elif entry.name == _LEFT_OUT:
        yield Entry(entry.path, "the store of a Git repository is left out")
    else:
        deeper.append(entry.path)


def _no_file(mode: int) -> str:
    return f"{_KINDS.get(stat.S_IFMT(mode), 'no regular file')} is not followed or read"


def _why(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
