"""Where installations lie that only root can write, and which there are."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from egressmon.startup import ownership

PLACES = ("/opt/egressmon", "/usr/local/lib/egressmon", "/var/lib/egressmon")
"""Where, in this order: some machines let others write /opt, or /usr/local."""
MARK = "installed.json"
"""Written last: a folder without it was not finished."""
LAUNCHER = "bin/egressmon"


@dataclass(frozen=True, slots=True)
class Installation:
    """One finished installation."""

    folder: Path
    version: str
    sha256: str

    @property
    def python(self) -> str:
        """Return the path of its interpreter."""
        return str(self.folder / "bin/python")


def place() -> Path:
    """Return the folder for installations: the first place that is root's alone."""
    for name in PLACES:
        if not ownership.obstacle(name):
            return Path(name)
    return Path(PLACES[0])


def folder_name(version: str, sha256: str) -> str:
    """Return what the installation of a wheel for this Python is called."""
    return f"{version}-{sha256[:32]}-cp{sys.version_info[0]}{sys.version_info[1]}"


def installations(root: Path) -> Iterator[Installation]:
    """Yield what is installed in the folder root, which is root's alone."""
    for mark in sorted(root.glob(f"*/{MARK}")):
        if found := read(mark.parent):
            yield found


def read(folder: Path) -> Installation | None:
    """Return the installation in folder, or None if there is no finished one."""
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
    """Return the installation that was made last, if there is one."""
    launcher = place() / LAUNCHER
    return read(launcher.resolve().parents[1]) if launcher.is_symlink() else None
