"""Tell the head of the evidence elsewhere while the run goes on.

Whoever can write the evidence can make it anew, with a chain that is right. Not so with
a line that has left the machine by then: in a CI job's log, for example.
"""

import os
import select
import stat
import time
from typing import IO

from egressmon.errors import EvidenceError
from egressmon.files.writing import open_for_writing
from egressmon.startup import streams

STDOUT = "-"
_MODE = 0o640
_PATIENCE_MS = 1000


class Anchor:
    """Writes lines `egressmon anchor run=… seq=… head=…`; it never holds a run up.

    What its reader, or the disk, does not take at once is left out: a later line has a
    later head, which covers all before it.
    """

    def __init__(self, file: IO[bytes], every_s: float | None) -> None:
        """Write to `file` each `every_s` seconds at most, and at the end.

        None: at the end alone.
        """
        self._file = file
        self._every_s = every_s
        self._next_s = time.monotonic() + (every_s or 0.0)
        self._room = _room_in(file)
        self.failure: str | None = None
        """Why the last line could not be written; None: it was."""

    def note(self, run: str, number: int, head: str) -> None:
        """Tell of `head`, which is that of record `number`, if it is time."""
        if self._every_s is None or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + self._every_s
        self._write(anchor_of(run, number, head), 0)

    def tell(self, run: str, number: int, head: str) -> None:
        """Tell of `head`, that of record `number`, the last of a run that is over."""
        self._write(anchor_of(run, number, head), _PATIENCE_MS)

    def tell_lock(self, digest: str) -> None:
        """Tell of the digest of a proof's lock."""
        self._write(f"egressmon anchor lock={digest}", _PATIENCE_MS)

    def finish(self, run: str, number: int, head: str | None) -> None:
        """Tell of the last head; there is none if nothing was written."""
        if head is not None:
            self.tell(run, number, head)
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # The line is shorter than what a pipe takes as a whole (PIPE_BUF).
    def _write(self, text: str, patience_ms: int) -> None:
        line = f"{text}\n".encode()
        self.failure = None
        try:
            if self._room is not None and not self._room.poll(patience_ms):
                self.failure = "its reader takes nothing"
            elif os.write(self._file.fileno(), line) != len(line):
                self.failure = "there is no room for it"
        except OSError as error:
            self.failure = error.strerror or str(error)


def anchor_of(run: str, number: int, head: str) -> str:
    """Return the line that anchors `head`, which is that of record `number`."""
    return f"egressmon anchor run={run} seq={number} head={head}"


# A poll object that says when there is room; a regular file always takes something.
def _room_in(file: IO[bytes]) -> "select.poll | None":
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return None
    room = select.poll()
    room.register(file.fileno(), select.POLLOUT)
    return room


def open_anchor(path: str) -> IO[bytes]:
    """Open the file `path` to add anchors to it, or take standard output for `-`.

    Raises EvidenceError.
    """
    try:
        if path == STDOUT:
            return os.fdopen(streams.own_output(), "wb", buffering=0)
        return os.fdopen(open_for_writing(path, os.O_CREAT, _MODE), "wb", buffering=0)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EvidenceError(
            f"anchors cannot be written to {path}: {reason}",
            "name a writable file with --anchor, or `-` for standard output",
        ) from error
