"""Find the installations of egressmon that only root can write."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from egressmon.startup import ownership
from egressmon.values import dataclass

PLACES = ("/opt/egressmon", "/usr/local/lib/egressmon", "/var/lib/egressmon")
"""Possible places, in order of preference: on some machines, others than root may write
/opt or /usr/local."""
MARK = "installed.json"
"""A file that is written last: an installation without it is unfinished."""
LAUNCHER = "bin/egressmon"
"""The program to call, in an installation and beside all of them."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One finished installation."""

    folder: Path
    version: str
    sha256: str
    """The SHA-256 digest, in hexadecimal, of the wheel that was installed."""

    @property
    def python(self) -> str:
        """The path of its Python interpreter."""
        return str(self.folder / "bin/python")


def place() -> Path:
    """Return the folder for installations: the first place that only root can write.

    If others can write each of them, return the first; the installer then refuses it.
    """
    for name in PLACES:
        if not ownership.obstacle(name):
            return Path(name)
    return Path(PLACES[0])


def folder_name(version: str, sha256: str) -> str:
    """Return the name of an installation's folder, for this version of Python."""
    return f"{version}-{sha256[:32]}-cp{sys.version_info[0]}{sys.version_info[1]}"


def installations(root: Path) -> Iterator[Installation]:
    """Yield the finished installations in the folder `root`."""
    for mark in sorted(root.glob(f"*/{MARK}")):
        if found := read(mark.parent):
            yield found


def read(folder: Path) -> Installation | None:
    """Return the installation in `folder`, or None.

    None means that it is unfinished, or that others than root can change it.
    """
    mark = folder / MARK
    if ownership.obstacle(str(mark)):
        return None
    try:
        known = json.loads(mark.read_text())
    except (OSError, ValueError):
        return None
    found = Installation(folder, known["version"], known["sha256"])
    return found if os.access(found.python, os.X_OK) else None


def current() -> Installation | None:
    """Return the installation that was made last, or None if there is none."""
    launcher = place() / LAUNCHER
    return read(launcher.resolve().parents[1]) if launcher.is_symlink() else None
