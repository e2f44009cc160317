"""Write the evidence of a long run: in segments, and on when the disk was full."""

import errno
from contextlib import suppress

from egressmon.clock import Clock
from egressmon.evidence.output import EvidenceState
from egressmon.evidence.records.running import LossRecord, RunEnd, SegmentRecord
from egressmon.evidence.rendering import Rendered, render
from egressmon.evidence.segments import Segments
from egressmon.evidence.writer import DEFAULT_LIMIT, Evidence

LOST = "evidence"
"""The `where` of a loss, and the name of its counter in `losses` of `run.end`."""
_MAY_PASS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""Errors of a disk that may take something again later."""
_AGAIN_S = 1.0
"""How long nothing is tried after a write that failed."""


class SegmentedEvidence(Evidence):
    """The evidence of one run, in several files.

    What cannot be written because the disk is full is counted in `lost`. As soon as
    something can be written again, a `loss` record says how much it was: so the chain
    goes on over what is in the files. A run that lost something is incomplete.
    """

    def __init__(
        self, segments: Segments, clock: Clock, limit: int = DEFAULT_LIMIT
    ) -> None:
        """`limit` is the largest size of all segments together, in bytes."""
        super().__init__(None, segments.run, clock, None, limit)
        self._segments = segments
        self._output = segments.current
        self._begins: SegmentRecord | None = None
        """The first record of the current segment, if it is not there yet."""
        self._unsaid: int = 0
        """How many lost records no `loss` record tells of yet."""
        self._is_in_trouble = False
        """Whether the last write failed: then half a line may be in the file."""
        self._why = ""
        """Why a write failed."""
        self._next_try_s = 0.0
        self._last_ns = 0
        self._has_end = False
        self._is_open = True

    def put(self, rendered: Rendered, ktime_ns: int) -> bool:
        """Append the record that was `rendered`, of something at `ktime_ns`.

        Returns False if it is missing: because of the limit, or as it was lost. Others
        that were gathered with it may be lost, too: those count in `lost` alone.
        """
        if self.failure is not None or not self._is_open:
            return True
        self._last_ns = ktime_ns
        if isinstance(rendered.record, RunEnd):
            return self._put_end(rendered, ktime_ns)
        if not self._is_ready(ktime_ns):
            self._lose(1)
            return False
        return super().put(rendered, ktime_ns) and not self._is_in_trouble

    # Whether a record can be written now; it will be in the right segment.
    def _is_ready(self, ktime_ns: int) -> bool:
        if self._is_in_trouble and self._segments.now_s() < self._next_try_s:
            return False
        if not self._settle(ktime_ns):
            return False
        if not self._segments.is_due(self._waiting):
            return True
        self.flush()
        if self._is_in_trouble:
            return False
        self._begins = self._segments.switch()
        if self._begins is not None:
            self._output = self._segments.current
            self._remembered.forget()
        return self._settle(ktime_ns)

    # It is in the segment that is there: another might not be opened.
    def _put_end(self, rendered: Rendered, ktime_ns: int) -> bool:
        self._segments.free_reserve()
        self.flush()
        if self._settle(ktime_ns):
            self._add(rendered, ktime_ns)
            self.flush()
        self._has_end = not self._is_in_trouble and self.failure is None
        if not self._has_end:
            self.failure = self.failure or self._why
        return self._has_end

    # Write what must be there before any other record; return whether it is there.
    def _settle(self, ktime_ns: int) -> bool:
        if self._is_in_trouble and not self._cut():
            return False
        if self._begins is not None:
            self._append(render(self._begins), ktime_ns, always=True)
            if self._write_out():
                return False
            self._begins = None
        if self._unsaid:
            what = f"records are missing from the evidence: {self._why}"
            loss = LossRecord(LOST, self._unsaid, what)
            self._append(render(loss), ktime_ns, always=True)
            if self._write_out():
                return False
            self._unsaid = 0
        return self.failure is None

    def flush(self) -> None:
        """Write the lines that were gathered; what cannot be is counted in `lost`."""
        self._lose(self._write_out())

    # Returns how many of the lines that were gathered are not in the file.
    def _write_out(self) -> int:
        if self._output is None or not self._gathered:
            return 0
        count, error = self._write_gathered(self._output)
        if error is None:
            self._is_in_trouble = False
        else:
            self._note_trouble(error)
        return count

    def _lose(self, count: int) -> None:
        self.lost += count
        self._unsaid += count

    def _note_trouble(self, error: OSError) -> None:
        self._is_in_trouble = True
        self._why = error.strerror or str(error)
        self._next_try_s = self._segments.now_s() + _AGAIN_S
        self._remembered.forget()  # some of it may not be there
        with suppress(OSError):  # it is done again before the next write
            self._segments.current.cut()
        if error.errno not in _MAY_PASS:
            self.failure = self._why

    # What is left of a line that was not wholly written is no line.
    def _cut(self) -> bool:
        try:
            self._segments.current.cut()
        except OSError as error:
            self._note_trouble(error)
            return False
        return True

    def examine(self) -> EvidenceState:
        """Return whether all files are where they were, with just what was written."""
        self.flush()
        if self.failure is not None or (self._is_in_trouble and not self._cut()):
            return "unchecked"
        return self._segments.examine()

    def close(self) -> None:
        """Write the files to the disk with their manifest, and close them."""
        if not self._is_open:
            return
        self.flush()
        if self._unsaid or self._begins is not None:
            self._segments.free_reserve()
            if self.failure is None and not self._settle(self._last_ns):
                self.failure = self._why
        self._is_open = False
        error = self._segments.close(complete=self._has_end)
        if error is not None:
            self.failure = self.failure or error.strerror or str(error)
        self._finish_anchor()
