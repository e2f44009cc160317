"""The folder of a run's segments: the keeper opens the files, the agent writes them.

So nobody but root can put files there, and the agent gets those of its own run alone.
"""

import errno
import os
from contextlib import suppress
from typing import IO

from egressmon.evidence.manifest import manifest_name, named, segment_name
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.keeping.keeper_client import KeeperClient
from egressmon.keeping.protocol import FIRST, LAST, MAX_MANIFEST, MAX_SEGMENTS


class RunFolder:
    """The keeper's part: makes the files of one run, and no others.

    What is asked comes from the agent and is not trusted. All raise OSError, and
    ValueError for what no agent asks.
    """

    def __init__(self, folder: PlainFolder, run: str) -> None:
        """The first segment is there, and open, when this begins."""
        self._folder: PlainFolder | None = folder
        self._run = run
        self._last = 1
        """The number of the newest segment."""
        self._manifest: bytearray | None = None
        """The pieces of the manifest that came so far."""

    def open_next(self, number: int) -> IO[bytes]:
        """Make the segment `number`, which is the next, and open it for writing."""
        if number != self._last + 1:
            raise ValueError(number)
        if number > MAX_SEGMENTS:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        opened = self._own().open_next(segment_name(self._run, number))
        self._last = number
        return opened

    def open_again(self, number: int) -> IO[bytes]:
        """Open for reading what is now at the name of a segment that was made."""
        if not 0 < number <= self._last:
            raise ValueError(number)
        return self._own().open_again(segment_name(self._run, number))

    def take(self, which: int, piece: bytes) -> None:
        """Take a piece of a new manifest; with the `LAST`, it replaces the old one."""
        if which & FIRST:
            self._manifest = bytearray()
        if self._manifest is None:
            raise ValueError("no manifest was begun")
        self._manifest += piece
        if len(self._manifest) > MAX_MANIFEST:
            self._manifest = None
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if which & LAST:
            data, self._manifest = bytes(self._manifest), None
            self._own().replace(manifest_name(self._run), data)

    def forget_run(self) -> None:
        """Remove the files of the run if it did not begin: nothing is in them."""
        with suppress(OSError):
            with self.open_again(1) as first:
                if os.fstat(first.fileno()).st_size:
                    return
            for name in (segment_name(self._run, 1), manifest_name(self._run)):
                self._own().remove(name)

    def let_go(self) -> None:
        """Close the folder in a process that may not write there."""
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _own(self) -> PlainFolder:
        if self._folder is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._folder


class KeeperFolder:
    """The agent's part: a `segment_folder.Folder` that asks the keeper."""

    def __init__(self, keeper: KeeperClient) -> None:
        self._keeper = keeper

    def open_next(self, name: str) -> IO[bytes]:
        """Make the segment `name`, and open it to append to it."""
        descriptor = self._keeper.open_segment(_number_of(name))
        return os.fdopen(descriptor, "wb", buffering=0)

    def open_again(self, name: str) -> IO[bytes]:
        """Open what is called `name` now for reading."""
        descriptor = self._keeper.reopen_segment(_number_of(name))
        return os.fdopen(descriptor, "rb", buffering=0)

    def replace(self, name: str, data: bytes) -> None:
        """Have `data` in the manifest, whose name the keeper knows."""
        if not name.endswith(manifest_name("")):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._keeper.replace_manifest(data)


def _number_of(name: str) -> int:
    found = named(name)
    if found is None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return found[1]
