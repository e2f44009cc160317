"""The files of a run's evidence, one after the other, and the manifest of them."""

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from egressmon.evidence.manifest import (
    Manifest,
    Segment,
    manifest_name,
    segment_name,
)
from egressmon.evidence.output import EvidenceState, Output, digest_of_line
from egressmon.evidence.place import digest_of_file
from egressmon.evidence.records.running import SegmentRecord
from egressmon.evidence.segment_folder import Folder
from egressmon.values import dataclass

SEGMENT_BYTES = 64 << 20
SEGMENT_AGE_S = 24 * 3600.0
_AGAIN_S = 60.0
"""How long the segment goes on after the next one could not be opened."""
_SETTLED_S = 2.0
"""How long after the last write to a file a change of it has another time for sure."""
_NOT_THERE = frozenset({errno.ENOENT, errno.ELOOP})


@dataclass(frozen=True, slots=True)
class _Finished:
    segment: Segment
    identity: tuple[int, int]
    """Device and inode of its file."""
    since_s: float
    """Since when it is written no more, on the clock that nobody sets."""


class Segments:
    """Where the segments of one run are written; the first is open from the start."""

    def __init__(  # noqa: PLR0913 -- what may be another in a test
        self,
        folder: Folder,
        run: str,
        *,
        reserve: IO[bytes] | None = None,
        max_bytes: int = SEGMENT_BYTES,
        max_age_s: float = SEGMENT_AGE_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises OSError if `folder` refuses the first file or the manifest.

        `reserve` is an open file without a name that holds some of the disk, to be
        freed for the end of the run; `now_s` is a clock that nobody sets.
        """
        self.run = run
        self.now_s = now_s
        self._folder = folder
        self._reserve = reserve
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._finished: list[_Finished] = []
        self._before: Output | None = None
        """The segment before the current one. It is closed only with the next, when the
        kernel has long written it: so nobody waits for the disk."""
        self._seq = 0
        """Of the first record in the current segment."""
        self._next_try_s = 0.0
        self._found_whole: dict[str, tuple[int, int, int]] = {}
        """The size and times that a finished file had when it was last read back."""
        self._failed: OSError | None = None
        """Why a file may not be on the disk."""
        self.current = self._open(1)
        self._opened_s = now_s()
        try:
            self._write_manifest(complete=False)
        except OSError:
            self.current.close()
            raise

    @property
    def number(self) -> int:
        """The number of the current segment, from 1."""
        return len(self._finished) + 1

    def is_due(self, waiting: int) -> bool:
        """Tell whether the next record is for another segment.

        `waiting` is how many bytes are still to be written to this one.
        """
        if not self.current.lines and not waiting:
            return False
        now = self.now_s()
        is_full = self.current.size + waiting >= self._max_bytes
        is_old = now - self._opened_s >= self._max_age_s
        return (is_full or is_old) and now >= self._next_try_s

    def switch(self) -> SegmentRecord | None:
        """Begin the next segment, and return with which record.

        All lines must be written. None: it cannot be opened, and this one goes on.
        """
        try:
            following = self._open(self.number + 1)
        except OSError:
            self._next_try_s = self.now_s() + _AGAIN_S
            return None
        finished = self._now().segment
        self._finished.append(self._now())
        self._seq += finished.records
        self._let_go()
        self._before, self.current = self.current, following
        self._opened_s = self.now_s()
        with suppress(OSError):  # it is written again at the next switch, and the end
            self._write_manifest(complete=False)
        return SegmentRecord(
            self.number, finished.file, finished.blake3, finished.records
        )

    def hand_over(self, folder: Folder) -> None:
        """From now on, ask `folder` for the files."""
        self._folder = folder

    def let_go(self) -> None:
        """Close what is open in a process that does not write; it stays as it is."""
        if self._reserve is not None:
            self._reserve.close()
        self.current.close()

    def free_reserve(self) -> None:
        """Give back what was kept of the disk: for the end of the run."""
        if self._reserve is None:
            return
        with suppress(OSError):
            self._reserve.truncate(0)
        with suppress(OSError):
            self._reserve.close()
        self._reserve = None

    def examine(self) -> EvidenceState:
        """Return whether all files are where they were, with just what was written."""
        found = {self._state(one) for one in (*self._finished, self._now())}
        if "replaced" in found:
            return "replaced"
        return "changed" if "changed" in found else "whole"

    def close(self, *, complete: bool) -> OSError | None:
        """Close the files; `complete`: the end of the run is written.

        Returns why something may not be on the disk.
        """
        self.free_reserve()
        self._let_go()
        self._failed = self.current.synchronise() or self._failed
        try:
            self._write_manifest(self._now().segment, complete=complete)
        except OSError as error:
            self._failed = self._failed or error
        self.current.close()
        return self._failed

    def _open(self, number: int) -> Output:
        return Output(self._folder.open_next(segment_name(self.run, number)), None)

    def _let_go(self) -> None:
        if self._before is None:
            return
        self._failed = self._before.synchronise() or self._failed
        self._before.close()
        self._before = None

    # The current segment as it is now.
    def _now(self) -> _Finished:
        output = self.current
        segment = Segment(
            self.number,
            segment_name(self.run, self.number),
            output.lines,
            output.size,
            f"blake3:{output.digest.hex()}",
            self._seq if output.lines else None,
            self._seq + output.lines - 1 if output.lines else None,
            digest_of_line(output.last) if output.last is not None else None,
        )
        return _Finished(segment, output.identity(), self.now_s())

    def _write_manifest(self, *more: Segment, complete: bool) -> None:
        segments = (*(one.segment for one in self._finished), *more)
        text = Manifest(self.run, complete, segments).text()
        self._folder.replace(manifest_name(self.run), text)

    def _state(self, one: _Finished) -> EvidenceState:
        try:
            file = self._folder.open_again(one.segment.file)
        except OSError as error:
            return "replaced" if error.errno in _NOT_THERE else "changed"
        with file:
            try:
                return self._compared(file, one)
            except OSError:
                return "changed"  # what cannot be read back is not what was written

    def _compared(self, file: IO[bytes], one: _Finished) -> EvidenceState:
        found, segment = os.fstat(file.fileno()), one.segment
        is_same = (found.st_dev, found.st_ino) == one.identity
        if not (is_same and stat.S_ISREG(found.st_mode)):
            return "replaced"
        if found.st_size != segment.bytes:
            return "changed"
        mark = found.st_size, found.st_mtime_ns, found.st_ctime_ns
        if self._found_whole.get(segment.file) == mark:
            return "whole"  # it is not read twice for nothing
        digest = digest_of_file(file.fileno(), found.st_size).hex()
        if f"blake3:{digest}" != segment.blake3:
            return "changed"
        if self.now_s() - one.since_s > _SETTLED_S:
            self._found_whole[segment.file] = mark
        return "whole"
