"""Write the evidence: a line for each record, with the digest of the line before."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import IO

from egressmon.clock import Clock
from egressmon.errors import EvidenceError
from egressmon.evidence.anchoring import Anchor
from egressmon.evidence.output import EvidenceState, Output, digest_of_line
from egressmon.evidence.phases import Phases
from egressmon.evidence.place import place_of
from egressmon.evidence.records import Record
from egressmon.evidence.records.running import RunEnd
from egressmon.evidence.referring import ValueRecord
from egressmon.evidence.remembered import Remembered
from egressmon.evidence.rendering import Envelopes, Rendered, render
from egressmon.files.writing import open_for_writing
from egressmon.startup import streams

STDOUT = "-"
DEFAULT_LIMIT = 10**9
EVIDENCE_MODE = 0o640
"""Not readable by everybody, because of the command lines."""
_MAX_GATHERED = 256 << 10
"""How many bytes of lines may wait to be written together."""


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
        self._output: Output | None = None
        if file is not None:
            place = place_of(file, path) if path != STDOUT else None
            self._output = Output(file, place, self._may_not_wait)
        self.run = run
        self._envelopes = Envelopes(run, clock)
        self._limit = limit
        self._gathers = False
        self._gathered: list[bytes] = []
        """Lines that wait to be written together."""
        self._waiting = 0
        """Their size in bytes."""
        self._head_written: str | None = None
        self._remembered = Remembered()
        self.head: str | None = None
        """The digest of the last line."""
        self.records: int = 0
        self.size = 0
        """In bytes."""
        self.left_out = 0
        """How many records were left out because of the limit."""
        self.lost: int = 0
        """How many records could not be written, though later ones were."""
        self.failure: str | None = failure
        self.anchor: Anchor | None = None
        self.phases = Phases()
        """A record's phase is the one that it was at the record's own time."""
        self.is_over: Callable[[], bool] = lambda: False
        """Whether it is too late to wait for the reader of a pipe."""

    def _may_not_wait(self) -> bool:
        return self.is_over()

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

        Returns False if it is known to be missing, though others will be there.
        """
        if self._output is None or self.failure is not None:
            return True  # `failure` says it: nothing is left out of a file
        return self.put(render(record), ktime_ns)

    def put(self, rendered: Rendered, ktime_ns: int) -> bool:
        """Do as `write`, with a record that was rendered before."""
        if self._output is None or self.failure is not None:
            return True
        is_there = self._add(rendered, ktime_ns)
        if not self._gathers or self._waiting >= _MAX_GATHERED:
            self.flush()
        return is_there

    # What a record refers to is gathered together with it: both are there, or neither.
    def _add(self, rendered: Rendered, ktime_ns: int) -> bool:
        for value in rendered.values:
            if not self._add_once(value, ktime_ns):
                self.left_out += 1  # what refers to it, too
                return False
        # The last record is always written: it says that others are missing.
        is_end = isinstance(rendered.record, RunEnd)
        return self._append(rendered, ktime_ns, always=is_end)

    def _add_once(self, value: ValueRecord, ktime_ns: int) -> bool:
        if self._remembered.knows(value.digest):
            return True
        before = self.size
        if not self._append(render(value), ktime_ns):
            return False
        self._remembered.add(value.digest, self.size - before - 1)
        return True

    # `always`: whatever the limit is.
    def _append(
        self, rendered: Rendered, ktime_ns: int, *, always: bool = False
    ) -> bool:
        line = self._envelopes.of(
            rendered.record.TYPE,
            self.records,
            ktime_ns,
            self.phases.at(ktime_ns),
            self.head,
        )
        line += rendered.body
        if self.size + len(line) > self._limit and not always:
            self.left_out += 1
            return False
        self._gathered.append(line)
        self._waiting += len(line) + 1
        self.records += 1
        self.size += len(line) + 1
        self.head = digest_of_line(line)
        return True

    def flush(self) -> None:
        """Write the lines that were gathered."""
        if self._output is None or not self._gathered:
            return
        _, error = self._write_gathered(self._output)
        if error is not None:
            self.failure = error.strerror or str(error)

    # Returns how many lines are not in the file, and why.
    def _write_gathered(self, output: Output) -> tuple[int, OSError | None]:
        lines, self._gathered, self._waiting = self._gathered, [], 0
        count, error = output.write(lines)
        if error is not None:
            self._take_back(lines, count)
            return len(lines) - count, error
        self._head_written = self.head
        if self.anchor is not None and self.head is not None:
            self.anchor.note(self.run, self.records - 1, self.head)
        return 0, None

    # Of `lines`, only the first `count` got into the file.
    def _take_back(self, lines: list[bytes], count: int) -> None:
        self.records -= len(lines) - count
        self.size -= sum(len(line) + 1 for line in lines[count:])
        if count:
            self._head_written = digest_of_line(lines[count - 1])
        self.head = self._head_written

    def examine(self) -> EvidenceState:
        """Return whether the file is still at its path, with just what was written."""
        self.flush()
        if self._output is None or self.failure is not None:
            return "unchecked"
        return self._output.examine()

    def close(self) -> None:
        """Write the file to the disk, and close it."""
        if self._output is None:
            return
        self.flush()
        if (error := self._output.synchronise()) is not None:
            self.failure = self.failure or error.strerror
        self._output.close()
        self._finish_anchor()

    def _finish_anchor(self) -> None:
        if self.anchor is not None:
            self.anchor.finish(self.run, self.records - 1, self.head)


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
