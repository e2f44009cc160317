"""Files that the agent may have, and nothing else of the machine's.

Those that the command's user could read, the evidence of its own run, and its policy.
"""

import os
from typing import IO

from egressmon.files import Kind, open_here
from egressmon.keeping.protocol import NUMBER
from egressmon.keeping.segments import RunFolder
from egressmon.keeping.setup import KeeperSetup
from egressmon.privileges.confinement import with_rights_of

_MAX_PATH = 4096


class Opening:
    """Opens files for one agent; each returns a descriptor, to be sent and closed."""

    def __init__(self, setup: KeeperSetup) -> None:
        self._setup = setup

    def open(self, kind: int, path: bytes) -> int:
        """Open the file at `path` as `kind` says. Raises OSError, ValueError."""
        with with_rights_of(self._setup.user):
            return _opened(kind, path)

    def open_segment(self, _detail: int, data: bytes) -> int:
        """Make the next segment of the evidence. Raises OSError, ValueError."""
        return _detached(self._segments().open_next(_number(data)))

    def reopen_segment(self, _detail: int, data: bytes) -> int:
        """Open a segment of the evidence again. Raises OSError, ValueError."""
        return _detached(self._segments().open_again(_number(data)))

    # The agent cannot name another file.
    def open_policy(self, _detail: int, _data: bytes) -> int:
        """Open the policy again. Raises OSError, ValueError."""
        if self._setup.open_policy is None:
            raise ValueError("the policy is in no file")
        return self._setup.open_policy()

    def replace(self, which: int, piece: bytes) -> None:
        """Take a piece of what replaces the manifest. Raises OSError, ValueError."""
        self._segments().take(which, piece)

    def _segments(self) -> RunFolder:
        if self._setup.segments is None:
            raise ValueError("the evidence is in one file")
        return self._setup.segments


def _number(data: bytes) -> int:
    if len(data) != NUMBER.size:
        raise ValueError(len(data))
    return int(NUMBER.unpack(data)[0])


# The descriptor outlives the file, which has no buffer.
def _detached(file: IO[bytes]) -> int:
    with file:
        return os.dup(file.fileno())


# To be called with the rights of the command's user: so the agent cannot get files that
# this user could not read. `path` comes from the agent and is not trusted.
def _opened(kind: int, path: bytes) -> int:
    if not path.startswith(b"/") or len(path) > _MAX_PATH or b"\0" in path:
        raise ValueError(path)
    return open_here(path, Kind(kind))
