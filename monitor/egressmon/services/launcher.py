"""The program that the unit is to start: root's alone, and there after an upgrade."""

import os
import sys
from pathlib import Path

from egressmon.errors import PrivilegeError
from egressmon.startup import installed, ownership


def find_launcher() -> str:
    """Return the path of this installation's launcher.

    Of one that `egressmon install` made it is the link that later ones take over.
    Raises `PrivilegeError` if others than root can change what would run.
    """
    own = Path(sys.prefix)
    linked = own.parent / installed.LAUNCHER
    if installed.read(own) is not None and _is_usable(linked):
        return str(linked)
    reason = ownership.obstacle_to_root()
    launcher = own / installed.LAUNCHER
    if not reason and _is_usable(launcher):
        return str(launcher)
    other = installed.place() / installed.LAUNCHER
    if installed.current() is not None and _is_usable(other):
        return str(other)
    raise PrivilegeError(
        "there is no egressmon that only root can change for the service to run"
        + (f": {reason}" if reason else ""),
        "make one: egressmon install; then call the path that it prints",
    )


def _is_usable(path: Path) -> bool:
    return not ownership.obstacle(str(path)) and os.access(path, os.X_OK)
