"""The heads that left the machine while the run went on: lines in a CI log."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator

from egressmon.files.bounded import open_regular
from egressmon.verifying.findings import Findings, UnreadableError, Verified

_LINE = re.compile(
    rb"egressmon anchor run=([\w.:-]{1,200}) seq=(\d+) "
    rb"head=(blake3:[0-9a-f]{64})"
)
_LOCK = re.compile(rb"egressmon anchor lock=(blake3:[0-9a-f]{64})")
_MAX_DIGITS = 15
_MAX_LINE = 1 << 16
_MAX_ANCHORS = 100_000


class Anchors:
    """All anchors in a log, by run; what else is in the log does not matter."""

    def __init__(self, path: str) -> None:
        """Read the log at `path`; raises UnreadableError."""
        self.path = path
        self._by_run: dict[str, dict[int, list[str]]] = defaultdict(dict)
        self._met: set[str] = set()
        self._locks: set[str] = set()
        for count, (run, number, head) in enumerate(self._read()):
            heads = self._by_run[run].setdefault(number, [])
            if head not in heads:
                heads.append(head)
            if count >= _MAX_ANCHORS:
                raise self._too_many()
        if len(self._locks) >= _MAX_ANCHORS:
            raise self._too_many()

    def others(self) -> list[str]:
        """Return the runs that have an anchor, and whose evidence was not met."""
        return sorted(set(self._by_run) - self._met)

    def why_no_lock(self, digest: str) -> str | None:
        """Return why no lock has `digest`; None: one has, or none is anchored."""
        if not self._locks or digest in self._locks:
            return None
        return f"is {digest}, of which {self.path} has no anchor, and it has others"

    def check(
        self, verified: Verified, heads: dict[int, str], findings: Findings
    ) -> None:
        """Compare the evidence `verified`, whose records have the digests `heads`."""
        run = verified.run or ""
        wanted = self._by_run.get(run)
        if not wanted:
            findings.add("anchor", f"{self.path} has no anchor of its run {run}")
            return
        self._met.add(run)
        for number, said in sorted(wanted.items()):
            found = heads.get(number)
            for head in said:
                if found is None and verified.is_part:
                    continue  # it may be in another
                if found is None:
                    what = f"{self.path} anchors record {number}, which is not there"
                    findings.add("anchor", what)
                elif found != head:
                    what = f"record {number} is not the one in {self.path}: {head}"
                    findings.add("anchor", what, number + 1)
        after = verified.next - 1 - max(wanted)
        if after > 0:
            what = f"its last {after} records come after the last anchor"
            findings.add("anchor", what, max(wanted) + 2)

    def numbers(self) -> frozenset[int]:
        """Return the numbers of all records that any run has an anchor of."""
        return frozenset(n for heads in self._by_run.values() for n in heads)

    def _too_many(self) -> UnreadableError:
        what = f"{self.path} has more than {_MAX_ANCHORS} anchors"
        return UnreadableError(what, "name one log")

    def _read(self) -> Iterator[tuple[str, int, str]]:
        try:
            with os.fdopen(open_regular(self.path), "rb", buffering=1 << 20) as file:
                while line := file.readline(_MAX_LINE):
                    if len(self._locks) < _MAX_ANCHORS:
                        self._locks |= {one.decode() for one in _LOCK.findall(line)}
                    for run, number, head in _LINE.findall(line):
                        # No run has so many records: it is of one that is not there.
                        is_real = len(number) <= _MAX_DIGITS
                        at = int(number) if is_real else 10**_MAX_DIGITS
                        yield run.decode("utf-8", "replace"), at, head.decode()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UnreadableError(
                f"{self.path} cannot be read: {reason}",
                "name the log that has the anchors",
            ) from error
