"""Which processes of a run come from one, as its evidence tells their parents."""

import re

_BORN = re.compile(rb'"event":"(?:fork|exec)","pid":(\d{1,10}),"ppid":(\d{1,10}),')
_BEGAN = rb'"event":"(?:fork|exec)","pid":%d,'
_MAX_KEPT = 200_000
_MAX_DEEP = 1000


class Descent:
    """The parents of processes, as the lines of evidence read so far tell them."""

    def __init__(self, pid: int, evidence: bytes) -> None:
        """Ask about descendants of process `pid` in the run of `evidence`."""
        self._pid = pid
        self._is_told = re.search(_BEGAN % pid, evidence) is not None
        self._parents: dict[int, int] = {}

    def add(self, line: bytes) -> None:
        """Take the line of a record of a process."""
        match = _BORN.search(line)
        if match is not None and len(self._parents) < _MAX_KEPT:
            self._parents[int(match[1])] = int(match[2])

    def is_others(self, pid: object) -> bool:
        """Tell whether process `pid` is known not to come from the one asked about.

        Nothing is known where the evidence does not tell of that one: it may lie in
        another pid namespace, where it has another number.
        """
        if not self._is_told or not isinstance(pid, int):
            return False
        if pid not in self._parents or len(self._parents) >= _MAX_KEPT:
            return False
        for _ in range(_MAX_DEEP):
            if pid == self._pid:
                return False
            if pid not in self._parents:
                return True
            pid = self._parents[pid]
        return False
