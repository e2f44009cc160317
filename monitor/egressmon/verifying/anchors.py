"""The heads that left the machine while the run went on: lines in a CI log."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator

from egressmon.files.bounded import open_regular
from egressmon.verifying.findings import Findings, UnreadableError, Verified

_LINE = re.compile(
    rb"egressmon anchor run=([\w.:-]{1,200}) seq=(\d{1,15}) head=(blake3:[0-9a-f]{64})"
)
_MAX_LINE = 1 << 16
_MAX_ANCHORS = 100_000


class Anchors:
    """All anchors in a log, by run; what else is in the log does not matter."""

    def __init__(self, path: str) -> None:
        """Read the log at `path`; raises UnreadableError."""
        self.path = path
        self._by_run: dict[str, dict[int, list[str]]] = defaultdict(dict)
        self._met: set[str] = set()
        for count, (run, number, head) in enumerate(_read(path)):
            heads = self._by_run[run].setdefault(number, [])
            if head not in heads:
                heads.append(head)
            if count >= _MAX_ANCHORS:
                raise UnreadableError(
                    f"{path} has more than {_MAX_ANCHORS} anchors", "name one log"
                )

    def others(self) -> list[str]:
        """Return the runs that have an anchor, and whose evidence was not met."""
        return sorted(set(self._by_run) - self._met)

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
                if found is None:
                    what = f"{self.path} anchors record {number}, which is not there"
                    findings.add("anchor", what)
                elif found != head:
                    what = f"record {number} is not the one in {self.path}: {head}"
                    findings.add("anchor", what, number + 1)
        after = verified.records - 1 - max(wanted)
        if after > 0:
            what = f"its last {after} records come after the last anchor"
            findings.add("anchor", what, max(wanted) + 2)

    def numbers(self) -> frozenset[int]:
        """Return the numbers of all records that any run has an anchor of."""
        return frozenset(n for heads in self._by_run.values() for n in heads)


def _read(path: str) -> Iterator[tuple[str, int, str]]:
    try:
        with os.fdopen(open_regular(path), "rb", buffering=1 << 20) as file:
            while line := file.readline(_MAX_LINE):
                for run, number, head in _LINE.findall(line):
                    yield run.decode("utf-8", "replace"), int(number), head.decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(
            f"{path} cannot be read: {reason}", "name the log that has the anchors"
        ) from error
