"""Probes that are pinned in a bpffs: they outlive this process, without systemd.

The folder is root's alone. What is pinned there stays attached, and its rings fill,
until it is removed.
"""

import fcntl
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from egressmon.errors import EgressmonError
from egressmon.files.own_links import open_by_own_links
from egressmon.probes.kernel import objects

_MODE = 0o700
_MOST = 254
_MOUNTS = Path("/proc/self/mountinfo")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HINT = "mount -t bpf bpf /sys/fs/bpf, and name a new folder of root's there"


class PinFolderError(EgressmonError):
    """The folder for pinned probes cannot be used."""


class PinFolder:
    """A folder in a bpffs that nobody but root may enter."""

    by: Literal["bpffs"] = "bpffs"
    outlives_signals = False
    """Whoever sends a signal here ends the run for good."""

    def __init__(self, path: str) -> None:
        """Open it, and make it if it is not there. Raises PinFolderError."""
        parent, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 -- text in
        try:
            above = open_by_own_links(parent, os.O_PATH | _FOLDER, 0)
            try:
                with suppress(FileExistsError):
                    os.mkdir(name, _MODE, dir_fd=above)
                self._folder = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
            finally:
                os.close(above)
        except OSError as error:
            raise PinFolderError(
                f"probes cannot be kept in {path}: {error.strerror}", _HINT
            ) from error
        if why := self._why_not():
            os.close(self._folder)
            raise PinFolderError(f"probes cannot be kept in {path}: {why}", _HINT)

    def _why_not(self) -> str:
        if why := _why_not(os.fstat(self._folder), _MOUNTS.read_text()):
            return why
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return "another sidecar keeps its own there"
        return ""

    def found(self) -> list[int]:
        """Open what is pinned there; raises OSError."""
        opened: list[int] = []
        try:
            for name in self._names()[:_MOST]:
                if os.stat(name, dir_fd=self._folder).st_uid:
                    raise PermissionError(1, "somebody else pinned something there")
                opened.append(objects.open_pinned(self._at(name)))
        except OSError:
            for one in opened:
                os.close(one)
            raise
        return opened

    def keep(self, descriptors: Sequence[int]) -> None:
        """Pin `descriptors` there; raises OSError."""
        for number, descriptor in enumerate(descriptors):
            objects.pin(descriptor, self._at(str(number)))

    def forget(self) -> None:
        """Remove all that is there."""
        with suppress(OSError):
            for name in self._names():
                with suppress(OSError):
                    os.rmdir(name, dir_fd=self._folder)  # nothing of ours
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._folder)

    def let_go(self) -> None:
        """Close the folder, in a process that is to have none of it."""
        os.close(self._folder)

    def _names(self) -> list[str]:
        return os.listdir(self._folder)  # noqa: PTH208 -- a descriptor

    def _at(self, name: str) -> str:
        return f"/proc/self/fd/{self._folder}/{name}"


def _why_not(found: os.stat_result, mounts: str) -> str:
    if found.st_uid or stat.S_IMODE(found.st_mode) & 0o077:
        return "others than root may enter it, or own it"
    device = f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [device] and after.split()[:1] == ["bpf"]:
            return ""
    return "it is in no bpffs"
