"""Write the evidence: a line for each record, with the digest of the line before."""

import errno
import os
import select
import stat
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Literal, TypeAlias

import orjson
from blake3 import blake3

from egressmon.clock import Clock
from egressmon.errors import EvidenceError
from egressmon.evidence import gate
from egressmon.evidence.code_records import CodeRecord, StackRecord
from egressmon.evidence.place import place_of
from egressmon.evidence.records import SCHEMA, Record, RunEnd
from egressmon.files.writing import open_for_writing
from egressmon.startup import streams

STDOUT = "-"
DEFAULT_LIMIT = 10**9
EvidenceState: TypeAlias = Literal["whole", "replaced", "changed", "unchecked"]
EVIDENCE_MODE = 0o640
"""Not readable by everybody, because of the command lines."""
_MAX_STACKS = 65536
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
        self._run = run
        self._clock = clock
        self._limit = limit
        self._written = blake3()
        self._stacks: OrderedDict[str, None] = OrderedDict()
        """Digests of stacks that are in the file; a forgotten one is written again."""
        self.head: str | None = None
        """The digest of the last line."""
        self.records = 0
        self.size = 0
        """In bytes."""
        self.left_out = 0
        """How many records were left out because of the limit."""
        self.failure = failure
        self.phase: str | None = None
        self.is_over: Callable[[], bool] = lambda: False
        """Whether it is too late to wait for the reader of a pipe."""

    def write(self, record: Record, ktime_ns: int) -> bool:
        """Append `record` of something that happened at `ktime_ns`, in kernel time.

        Returns False if it was left out because of the limit.
        """
        if self._file is None or self.failure is not None:
            return True  # `failure` says it: nothing is left out of a file
        code = getattr(record, "code", None)
        if isinstance(code, CodeRecord):
            for stack in code.stacks:
                self._write_once(stack, ktime_ns)
        return self._put(self._file.fileno(), record, ktime_ns)

    def _write_once(self, stack: StackRecord, ktime_ns: int) -> None:
        if stack.digest in self._stacks:
            self._stacks.move_to_end(stack.digest)
        elif self._file is not None and self._put(self._file.fileno(), stack, ktime_ns):
            self._stacks[stack.digest] = None
            if len(self._stacks) > _MAX_STACKS:
                self._stacks.popitem(last=False)

    def _put(self, fd: int, record: Record, ktime_ns: int) -> bool:
        line = self._line(record, ktime_ns)
        # The last record is always written: it says that others are missing.
        if self.size + len(line) > self._limit and not isinstance(record, RunEnd):
            self.left_out += 1
            return False
        self._append(fd, line)
        return True

    # Every record goes through the gate here: there is no other way to bytes.
    def _line(self, record: Record, ktime_ns: int) -> bytes:
        body, cuts = gate.admit(record)
        envelope, _ = gate.admit(
            {
                "schema": SCHEMA,
                "type": record.TYPE,
                "seq": self.records,
                "time": self._clock.rfc3339(ktime_ns),
                "run": self._run,
                "phase": self.phase,
                "prev": self.head,
            }
        )
        # Join the two JSON objects: the envelope's fields first, then the record's.
        line = envelope[:-1] + b"," + body[1:]
        if cuts:
            line = line[:-1] + b',"cut":' + orjson.dumps(cuts) + b"}"
        return line

    def _append(self, fd: int, line: bytes) -> None:
        whole = line + b"\n"
        rest = memoryview(whole)
        try:
            while rest:
                rest = rest[self._write(fd, rest) :]
        except OSError as error:
            self.failure = error.strerror or str(error)
            return
        self._written.update(whole)
        self.records += 1
        self.size += len(whole)
        self.head = "blake3:" + blake3(line).hexdigest()

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
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            # A pipe or terminal cannot be synchronised: EINVAL.
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.EROFS}:
                self.failure = self.failure or error.strerror
        self._file.close()
        if self._place is not None:
            os.close(self._place.fd)
            self._place = None


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
