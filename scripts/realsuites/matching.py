"""Compare what the evidence says of each connect with the truth, and with strace."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from straced import Connect
from told import Connection, Frame

# The two clocks are one, but were not read in the same instant.
_SLACK_NS = 1_000_000


@dataclass(frozen=True)
class Truth:
    """A connect as Python itself told of it (truth.py)."""

    time_ns: int
    tid: int
    port: int
    test: str | None
    frames: tuple[Frame, ...]

    @classmethod
    def of(cls, record: dict[str, Any]) -> Self:
        """Return the truth in a line that truth.py wrote."""
        return cls(
            record["time_ns"],
            record["tid"],
            record["port"],
            record["test"],
            tuple((name, file, line) for name, file, line in record["frames"]),
        )


@dataclass
class Comparison:
    """How many connects were compared, and what was not right."""

    compared: int = 0
    tests: Counter[str] = field(default_factory=Counter[str])
    """By `test_kind`."""
    stacks: int = 0
    """How many stacks are the same, frame by frame."""
    differences: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    unpaired_truths: int = 0
    """Calls of `connect` that made no connection."""
    unpaired_connections: int = 0
    """Of Python code, but unseen by the plugin: in other processes, or uvloop's."""


def read_truths(path: Path) -> list[Truth]:
    """Return what the plugin wrote; it writes no file where nothing connected."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Truth.of(json.loads(line)) for line in lines]


def missing(straced: Iterable[Connect], told: Iterable[Connection]) -> list[Connect]:
    """Return the connects that strace saw and the evidence lacks."""
    left = Counter(straced)
    left.subtract(one.connect for one in told)
    return sorted(one for one, count in left.items() for _ in range(count))


def test_kind(truth: str | None, told: str | None) -> str:
    """Return how the named test fits: same, no parameters, not named, or other."""
    if truth == told:
        return "same"
    if told is None:
        return "not named"
    if truth is not None and _plain(truth) == told:
        return "no parameters"
    return "other"


# A test's id without its parameters: tests/test_a.py::test_b[1] (call).
def _plain(test: str) -> str:
    node, _, phase = test.rpartition(" (")
    return f"{node.partition('[')[0]} ({phase}"


def compare(truths: Sequence[Truth], told: Sequence[Connection]) -> Comparison:
    """Compare each connect of the evidence with the truth about it."""
    found = Comparison()
    groups: defaultdict[tuple[int, int], list[Truth]] = defaultdict(list)
    for truth in truths:
        groups[truth.tid, truth.port].append(truth)
    by_call: defaultdict[tuple[int, int], list[Connection]] = defaultdict(list)
    for one in told:
        by_call[one.connect.tid, one.connect.port].append(one)
    for call, connections in by_call.items():
        for connection, known in pairs(connections, groups.get(call, [])):
            if known is not None:
                _note(found, known, connection)
            elif connection.language == "python":
                found.unpaired_connections += 1
    found.unpaired_truths = len(truths) - found.compared
    return found


def pairs(
    connections: Sequence[Connection], truths: Sequence[Truth]
) -> Iterable[tuple[Connection, Truth | None]]:
    """Pair the connections of a thread to a port with its calls, in their order.

    Calls that made no connection are passed over: then the last one before it counts.
    """
    if len(connections) == len(truths):
        return zip(connections, truths, strict=True)
    waiting, found = list(truths), list[tuple[Connection, Truth | None]]()
    for connection in sorted(connections, key=lambda one: one.time_ns):
        last: Truth | None = None
        while waiting and waiting[0].time_ns <= connection.time_ns + _SLACK_NS:
            last = waiting.pop(0)
        found.append((connection, last))
    return found


def _note(found: Comparison, truth: Truth, told: Connection) -> None:
    kind = test_kind(truth.test, told.test)
    same_stack = same_frames(truth.frames, told.frames)
    found.compared += 1
    found.tests[kind] += 1
    found.stacks += same_stack
    if kind in ("same", "no parameters") and same_stack:
        return
    difference: dict[str, Any] = {
        "connect": told.connect._asdict(),
        "test": truth.test,
        "test_told": told.test,
        "confirmed": told.confirmed,
    }
    if not same_stack:
        difference |= {"frames": truth.frames, "frames_told": told.frames}
    found.differences.append(difference)


def same_frames(truth: Sequence[Frame], told: Sequence[Frame]) -> bool:
    """Tell whether two stacks are the same; names in evidence may be cut."""
    return len(truth) == len(told) and all(
        one[2] == other[2]
        and _same_name(one[0], other[0])
        and _same_name(one[1], other[1])
        for one, other in zip(truth, told, strict=True)
    )


def _same_name(truth: str | None, told: str | None) -> bool:
    if truth is None or told is None or "…" not in told:
        return truth == told
    begin, _, end = told.partition("…")
    return truth.startswith(begin) and truth.endswith(end)
