"""Find the root folder of a process, which may be that of a container."""

import os

from egressmon import files


def root_of(pid: int) -> str:
    """Return /proc/PID/root of process `pid`; "" if it is our own root, or gone."""
    theirs = f"/proc/{pid}/root"
    try:
        if os.path.samestat(files.status(theirs), os.stat("/")):  # noqa: PTH116 -- hot
            return ""
    except OSError:
        return ""
    return theirs
