"""In which phase of a program something was reached, as far as evidence tells.

Marks say it (`egressmon prove`, `egressmon sidecar mark`). Without them it is told by
what else the records have: what the Python stack shows, and what was recorded before.
"""

from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import ProcessRecord
from egressmon.evidence.records.code import CodeRecord
from egressmon.evidence.records.running import RunStart
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord

IMPORT, TEST = "import", "tests"
RUN, SERVING = "run", "after it was connected to"
AFTER = "after the command"
OUTSIDE = "outside of the phases"
MEANING = {
    IMPORT: "a Python module was being imported",
    TEST: "a test ran",
    RUN: "none of the other phases",
    SERVING: "something had connected to a listener of the command's before",
    AFTER: "the command's first process had ended: something goes on without it",
    OUTSIDE: "no phase was marked",
}
"""What is said of phases without a mark, in their order."""
_MAX_MARKS = 1000
_OTHERS = "further phases"
_IMPORTING = "<frozen importlib"


class Phases:
    """Tells the phase of each record, as the records come."""

    def __init__(self) -> None:
        self.marked: dict[str, None] = {}
        """The marks so far, in their order."""
        self._first: int | None = None
        self._is_over = self._is_serving = False

    def note(self, record: Record, mark: str | None) -> None:
        """Take in `record`, of a phase that was marked so; None: of none."""
        if mark is not None and len(self.marked) < _MAX_MARKS:
            self.marked.setdefault(mark)
        if isinstance(record, RunStart):
            self._first, self._is_over, self._is_serving = None, False, False
        if isinstance(record, ProcessRecord):
            if self._first is None and record.event == "exec":
                self._first = record.pid
            elif record.event == "exit" and record.pid == self._first:
                self._is_over = True
        elif isinstance(record, ConnectionRecord) and record.op == "accept":
            self._is_serving = True

    def of(self, record: ConnectionRecord | DnsRecord, mark: str | None) -> str:
        """Return the phase of `record`: its mark, or what it tells itself."""
        if mark is not None:
            mark = mark if mark in self.marked else _OTHERS
            return f"{mark}: {IMPORT}" if _imports(record.code) else mark
        if self.marked:
            return OUTSIDE
        if self._is_over:
            return AFTER
        if _imports(record.code):
            return IMPORT
        if record.code is not None and record.code.test is not None:
            return TEST
        return SERVING if self._is_serving else RUN

    def order(self, phase: str) -> tuple[int, int, str]:
        """Return what phases are sorted by."""
        mark = phase.removesuffix(f": {IMPORT}")
        if mark in self.marked:
            return 0, [*self.marked].index(mark), phase
        return 1, [*MEANING, _OTHERS].index(mark if mark == _OTHERS else phase), phase


# Python itself hides these frames in tracebacks; they are on the stack all the same.
def _imports(code: CodeRecord | None) -> bool:
    if code is None:
        return False
    return any(
        name.startswith(_IMPORTING) for stack in code.stacks for name in stack.names
    )
