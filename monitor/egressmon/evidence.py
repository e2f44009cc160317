"""Write the evidence: the only place that does. One line a record, chained."""

import errno
import os
import stat
import time
from typing import IO

import orjson
from blake3 import blake3

from egressmon.clock import Clock
from egressmon.errors import EvidenceError
from egressmon.records import SCHEMA, Record

STDOUT = "-"
_READER_S = 2.0
_READER_POLL_S = 0.02


class Evidence:
    """An open evidence file.

    A write that fails is final: what came before stays as it is, later records
    are counted and dropped, and the run goes on (`failure` says why).
    """

    def __init__(
        self, file: IO[bytes] | None, run: str, clock: Clock, failure: str | None
    ) -> None:
        """Without a file, failure says why there is none."""
        self._file = file
        self._run = run
        self._clock = clock
        self._prev: str | None = None
        self.records = 0
        self.failure = failure
        self.phase: str | None = None

    def write(self, record: Record, ktime_ns: int) -> None:
        """Append record, with the time at which it happened."""
        if self._file is None or self.failure is not None:
            return
        envelope = {
            "schema": SCHEMA,
            "type": record.TYPE,
            "seq": self.records,
            "time": self._clock.rfc3339(ktime_ns),
            "run": self._run,
            "phase": self.phase,
            "prev": self._prev,
        }
        # One object from two: the envelope's fields first, then the record's.
        line = orjson.dumps(envelope)[:-1] + b"," + orjson.dumps(record)[1:]
        self._append(self._file.fileno(), line)

    def _append(self, fd: int, line: bytes) -> None:
        rest = memoryview(line + b"\n")
        try:
            while rest:
                rest = rest[os.write(fd, rest) :]
        except OSError as error:
            self.failure = error.strerror or str(error)
            return
        self.records += 1
        self._prev = "blake3:" + blake3(line).hexdigest()

    def close(self) -> None:
        """Flush the file to the disk and close it."""
        if self._file is None:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            # A pipe or terminal cannot be synchronised: EINVAL.
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP, errno.EROFS}:
                self.failure = self.failure or error.strerror
        self._file.close()


# Nobody may be made to wait, nor a device to do something: a pipe is given a moment for
# its reader to come.
def _open_for_writing(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY
    deadline = time.monotonic() + _READER_S
    while True:
        try:
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not _is_pipe(path):
                raise
            if time.monotonic() >= deadline:
                raise OSError(errno.ENXIO, "nobody reads this pipe") from error
            time.sleep(_READER_POLL_S)
    os.set_blocking(descriptor, True)
    if stat.S_ISBLK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "a block device")
    return descriptor


def _is_pipe(path: str) -> bool:
    return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116 -- as it was opened


def open_evidence(path: str) -> IO[bytes]:
    """Open path anew for writing, or standard output for `-`."""
    try:
        if path == STDOUT:
            return os.fdopen(os.dup(1), "wb", buffering=0)
        return os.fdopen(_open_for_writing(path), "wb", buffering=0)
    except OSError as error:
        raise EvidenceError(
            f"evidence cannot be written to {path}: {error.strerror}",
            "name a writable file with --evidence, or `-` for standard output",
        ) from error
