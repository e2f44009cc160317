"""Write the evidence: a line for each record, with the digest of the line before."""

import errno
import os
import select
import stat
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import IO, Literal, TypeAlias

from blake3 import blake3

from egressmon.clock import Clock
from egressmon.errors import EvidenceError
from egressmon.evidence.anchoring import Anchor
from egressmon.evidence.phases import Phases
from egressmon.evidence.place import place_of
from egressmon.evidence.records import Record, RunEnd
from egressmon.evidence.referring import ValueRecord
from egressmon.evidence.rendering import Envelopes, Rendered, render
from egressmon.files.writing import open_for_writing
from egressmon.startup import streams

STDOUT = "-"
DEFAULT_LIMIT = 10**9
EvidenceState: TypeAlias = Literal["whole", "replaced", "changed", "unchecked"]
EVIDENCE_MODE = 0o640
"""Not readable by everybody, because of the command lines."""
_MAX_VALUES = 65536
_MAX_VALUE_BYTES = 64 << 20
"""Of the lines of remembered values: a reader has to keep them."""
_MAX_GATHERED = 256 << 10
"""How many bytes of lines may wait to be written together."""
_POLL_MS = 100


class Evidence:
    """An open evidence file.

    After a write that fails, nothing more is written: what came before stays as it is,
    later records are dropped, and the run goes on. `failure` says why.
    """

    def __init__(  # noqa: PLR0913, PLR0917 -- what a line is made of
        self,
        file: IO[bytes] | None,
        run: str,
        clock: Clock,
        failure: str | None,
        limit: int = DEFAULT_LIMIT,
        path: str = STDOUT,
    ) -> None:
        """`file` is None if it could not be opened; `failure` then says why.

        `run` is the identifier of the run, `limit` the largest size of the file in
        bytes, and `path` is where others find the file.
        """
        self._file = file
        self._pipe = _pipe_of(file) if file is not None else None
        self._place = place_of(file, path) if path != STDOUT else None
        self.run = run
        self._envelopes = Envelopes(run, clock)
        self._limit = limit
        self._written = blake3()
        self._gathers = False
        self._gathered: list[bytes] = []
        """Lines that wait to be written together."""
        self._waiting = 0
        """Their size in bytes."""
        self._head_written: str | None = None
        self._values: OrderedDict[str, int] = OrderedDict()
        """Digests of the values that are in the file, with the sizes of their lines.

        One that was forgotten is written again.
        """
        self._value_bytes = 0
        self.head: str | None = None
        """The digest of the last line."""
        self.records = 0
        self.size = 0
        """In bytes."""
        self.left_out = 0
        """How many records were left out because of the limit."""
        self.failure = failure
        self.phases = Phases()
        """A record's phase is the one that it was at the record's own time."""
        self.anchor: Anchor | None = None
        self.is_over: Callable[[], bool] = lambda: False
        """Whether it is too late to wait for the reader of a pipe."""

    @contextmanager
    def gathering(self) -> Generator[None]:
        """Write the lines of the `with` block together, 256 KB at most.

        Each is whole in the file, or, if its writing failed, counted nowhere.
        """
        self._gathers = True
        try:
            yield
        finally:
            self._gathers = False
            self.flush()

    def write(self, record: Record, ktime_ns: int) -> bool:
        """Append `record` of something that happened at `ktime_ns`, in kernel time.

        Returns False if it was left out because of the limit.
        """
        if self._file is None or self.failure is not None:
            return True  # `failure` says it: nothing is left out of a file
        return self.put(render(record), ktime_ns)

    def put(self, rendered: Rendered, ktime_ns: int) -> bool:
        """Do as `write`, with a record that was rendered before."""
        if self._file is None or self.failure is not None:
            return True
        for value in rendered.values:
            if not self._write_once(value, ktime_ns):
                self.left_out += 1  # what refers to it, too
                return False
        return self._append(rendered, ktime_ns)

    def _write_once(self, value: ValueRecord, ktime_ns: int) -> bool:
        if value.digest in self._values:
            self._values.move_to_end(value.digest)
            return True
        before = self.size
        if not self._append(render(value), ktime_ns):
            return False
        size = self.size - before - 1
        self._values[value.digest] = size
        self._value_bytes += size
        while len(self._values) > _MAX_VALUES or self._value_bytes > _MAX_VALUE_BYTES:
            self._value_bytes -= self._values.popitem(last=False)[1]
        return True

    def _append(self, rendered: Rendered, ktime_ns: int) -> bool:
        record = rendered.record
        if self.failure is not None:
            return True
        line = self._envelopes.of(
            record.TYPE, self.records, ktime_ns, self.phases.at(ktime_ns), self.head
        )
        line += rendered.body
        # The last record is always written: it says that others are missing.
        if self.size + len(line) > self._limit and not isinstance(record, RunEnd):
            self.left_out += 1
            return False
        self._gathered.append(line)
        self._waiting += len(line) + 1
        self.records += 1
        self.size += len(line) + 1
        self.head = _digest(line)
        if not self._gathers or self._waiting >= _MAX_GATHERED:
            self.flush()
        return True

    def flush(self) -> None:
        """Write the lines that were gathered."""
        if self._file is None or not self._gathered:
            return
        lines, self._gathered, self._waiting = self._gathered, [], 0
        whole = b"\n".join([*lines, b""])
        rest = memoryview(whole)
        try:
            while rest:
                rest = rest[self._write(self._file.fileno(), rest) :]
        except OSError as error:
            self.failure = error.strerror or str(error)
            self._take_back(lines, len(whole) - len(rest))
            return
        self._written.update(whole)
        self._head_written = self.head
        if self.anchor is not None and self.head is not None:
            self.anchor.note(self.run, self.records - 1, self.head)

    # Of `lines`, only the first `written` bytes got into the file.
    def _take_back(self, lines: list[bytes], written: int) -> None:
        self.records -= len(lines)
        self.size -= sum(len(line) + 1 for line in lines)
        self.head = self._head_written
        for line in lines:
            written -= len(line) + 1
            if written < 0:
                return
            self._written.update(line + b"\n")
            self.records += 1
            self.size += len(line) + 1
            self.head = self._head_written = _digest(line)

    # A file takes all at once. The reader of a pipe may have been stopped, and the run
    # must end all the same: what poll(2) says there is room for never blocks.
    def _write(self, fd: int, rest: memoryview) -> int:
        if self._pipe is None:
            return os.write(fd, rest)
        while not self._pipe.poll(_POLL_MS):
            if self.is_over():
                raise TimeoutError(errno.ETIMEDOUT, "its reader takes nothing")
        return os.write(fd, rest[: select.PIPE_BUF])

    def examine(self) -> EvidenceState:
        """Return whether the file is still at its path, with just what was written."""
        self.flush()
        place = self._place
        if place is None or self.failure is not None:
            return "unchecked"
        try:
            found = os.fstat(place.fd)
            if found.st_nlink == 0 or not place.is_there(found):
                return "replaced"
            if found.st_size != self.size:
                return "changed"
            same = place.digest(self.size) == self._written.digest()
        except OSError:
            return "changed"  # what cannot be read back is not what was written
        return "whole" if same else "changed"

    def close(self) -> None:
        """Write the file to the disk, and close it."""
        if self._file is None:
            return
        self.flush()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            # A pipe or terminal cannot be synchronised: EINVAL.
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.EROFS}:
                self.failure = self.failure or error.strerror
        self._file.close()
        if self.anchor is not None:
            self.anchor.finish(self.run, self.records - 1, self.head)
        if self._place is not None:
            os.close(self._place.fd)
            self._place = None


def _digest(line: bytes) -> str:
    return "blake3:" + blake3(line).hexdigest()


# A poll object that says when there is room; None if it is a regular file.
def _pipe_of(file: IO[bytes]) -> "select.poll | None":
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return None
    room = select.poll()
    room.register(file.fileno(), select.POLLOUT)
    return room


def open_evidence(path: str) -> IO[bytes]:
    """Open `path` for writing and empty it, or take standard output for `-`.

    Raises EvidenceError.
    """
    try:
        if path == STDOUT:
            return os.fdopen(streams.own_output(), "wb", buffering=0)
        flags = os.O_CREAT | os.O_TRUNC
        opened = open_for_writing(path, flags, EVIDENCE_MODE)
        return os.fdopen(opened, "wb", buffering=0)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EvidenceError(
            f"evidence cannot be written to {path}: {reason}",
            "name a writable file with --evidence, or `-` for standard output",
        ) from error
