"""The folder of a sidecar's evidence: root's, and readable by who started it."""

import os
import stat
from contextlib import suppress

from egressmon.errors import EvidenceError
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.files.own_links import open_by_own_links

DEFAULT = "/var/lib/egressmon"
_FOLDER_MODE = 0o750
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def make_folder(named: str | None, gid: int) -> PlainFolder:
    """Open the folder `named`, and make it if it is not there.

    `gid` may read it, and what will be put there.

    Raises EvidenceError, also where others could put files there.
    """
    path = os.path.abspath(named if named is not None else DEFAULT)  # noqa: PTH100 -- text in
    parent, name = os.path.split(path)
    try:
        above = open_by_own_links(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0)
        try:
            descriptor = _made(above, name, gid) if name else os.dup(above)
        finally:
            os.close(above)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise EvidenceError(
            f"the evidence's folder {path} cannot be made or opened: {why}",
            "name another with --evidence",
        ) from error
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
        os.close(descriptor)
        raise EvidenceError(
            f"others than root can write in the evidence's folder {path}",
            "name one that is root's, or that is not there yet, with --evidence",
        )
    return PlainFolder(descriptor, path, gid)


def _made(above: int, name: str, gid: int) -> int:
    is_new = False
    with suppress(FileExistsError):
        os.mkdir(name, _FOLDER_MODE, dir_fd=above)
        is_new = True
    found = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=above)
    if is_new:
        os.fchown(found, -1, gid)
        os.fchmod(found, _FOLDER_MODE)  # whatever the umask is
    return found
