"""Programs that repeat a container's connections on the machine, known by their files.

A name proves nothing: what counts is that the machine's own file of that name runs,
which root alone can write.
"""

import os
import stat
from collections.abc import Callable

from egressmon import files

NETWORK_HELPERS = frozenset({"pasta", "slirp4netns"})
"""They make, for a network without a way out, each connection that is begun in it."""
PUBLISHER = "docker-proxy"
"""It hands on, to a container, what comes to a port of the machine."""
_NAMES = {
    "pasta": "pasta", "pasta.avx2": "pasta", "passt": "pasta", "passt.avx2": "pasta",
    "slirp4netns": "slirp4netns", PUBLISHER: PUBLISHER,
}  # fmt: skip
_FOLDERS = (
    "/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/libexec/docker", "/usr/local/bin",
    "/usr/libexec/podman", "/usr/lib/podman",
)  # fmt: skip
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def helper_of(path: str, is_it: Callable[[int], bool]) -> str | None:
    """Return which helper a program is that was executed as `path`; None: it is none.

    `is_it` tells whether an open file (O_PATH) is the program's.
    """
    base = path.rpartition("/")[2]
    name = _NAMES.get(base)
    if name is None:
        return None
    places = (f"{folder}/{base}" for folder in _FOLDERS)
    return name if any(_is_roots(place, is_it) for place in places) else None


def _is_roots(path: str, is_it: Callable[[int], bool]) -> bool:
    try:
        descriptor = files.open_place(path)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        if status.st_uid or status.st_mode & _OTHERS_MAY_WRITE:
            return False
        return is_it(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
