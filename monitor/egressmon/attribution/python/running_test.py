"""Find the test behind a call: the environment names one, stacks confirm it or not."""

from collections.abc import Iterable
from itertools import takewhile

from egressmon.attribution.python.frames import Walk
from egressmon.evidence.records.code import FrameRecord
from egressmon.values import dataclass

# What runs callbacks and tasks: whoever runs the loop only drives what is inside.
_LOOPS = (
    ("_run", "asyncio/events.py"),
    ("unrolled_run", "trio/_core/_run.py"),
)
# What calls the function of a test.
_CALLERS = (
    ("pytest_pyfunc_call", "_pytest/python.py"),
    ("_callTestMethod", "unittest/case.py"),
)


@dataclass(frozen=True, slots=True)
class RunningTest:
    """The test behind a call, and whether a stack confirms it."""

    name: str | None
    confirmed: bool | None
    other: str | None = None
    """The test that the environment named at the call, if that is another."""


# A thread or a task that one test leaves behind runs on during the next, whose name is
# then in the environment. Who created the task decides; then who makes the call; then
# who started the thread or process.
def running_test(
    walk: Walk | None, levels: list[list[FrameRecord]], start: Walk | None
) -> RunningTest:
    """Return the test behind the call of `walk`.

    `levels` are the frames in which its task was created, those in which the creating
    task was created, and so on; `start` is what started its thread or process.
    """
    now = walk.test if walk is not None else None
    frames = walk.frames if walk is not None else []
    began = start.test if start is not None else None
    if now is not None and (found := _by_stacks(now, frames, levels)):
        return found
    if start is not None and began is not None:
        other = now if now != began else None
        return RunningTest(began, confirmed=confirms(began, start.frames), other=other)
    if start is not None and now is not None:
        return RunningTest(now, confirmed=confirms(now, start.frames))
    return RunningTest(now, confirmed=False if now is not None else None)


# From what was first: the test that made the first task made what came of it.
def _by_stacks(
    now: str, frames: list[FrameRecord], levels: list[list[FrameRecord]]
) -> RunningTest | None:
    for level in reversed(levels):
        direct = _direct(level)
        # Which test's fixtures they were, the functions that run them do not tell.
        if now.endswith(" (call)") and confirms(now, direct):
            return RunningTest(now, confirmed=True)
        if _is_of_runner(level):
            continue
        if (other := _called(direct)) is not None:
            node = _node(other, now, [*frames, *(one for row in levels for one in row)])
            if node is None:
                return RunningTest(now, confirmed=False)
            return RunningTest(node, confirmed=True, other=now)
    return RunningTest(now, confirmed=True) if confirms(now, _direct(frames)) else None


# An asyncio.Runner has one Context for all that it is ever given to run; that of
# asyncio.run() runs one thing.
def _is_of_runner(level: list[FrameRecord]) -> bool:
    made = [one for one in level[:3] if _is_file(one, "asyncio/runners.py")]
    names = [one.function for one in made]
    return names[:1] == ["Runner._lazy_init"] and names[2:] != ["run"]


def confirms(test: str, frames: Iterable[FrameRecord]) -> bool:
    """Tell whether the function that runs `test`, a pytest node id, is in `frames`."""
    frames = list(frames)
    # As in tests/test_net.py::TestNet::test_fetch[a::b] (call).
    identifier, _, phase = test.rpartition(" (")
    file, _, rest = identifier.partition("::")
    name = rest.partition("[")[0].replace("::", ".")
    if phase != "call)":  # of its fixtures: then the function is not called
        name = f"pytest_runtest_{phase.rstrip(')')}"
        file = "_pytest/runner.py"
    if not _qualified(frames):
        name = name.rpartition(".")[2]
    return any(one.function == name and _is_file(one, file) for one in frames)


# Before 3.11 code objects do not name the class of a method.
def _qualified(frames: list[FrameRecord]) -> bool:
    return any("." in (one.function or "") for one in frames)


def _is_file(frame: FrameRecord, file: str) -> bool:
    return f"/{frame.file or ''}".endswith(f"/{file}")


def _is_one_of(frame: FrameRecord, functions: tuple[tuple[str, str], ...]) -> bool:
    last = (frame.function or "").rpartition(".")[2]
    return any(last == name and _is_file(frame, file) for name, file in functions)


def _direct(frames: list[FrameRecord]) -> list[FrameRecord]:
    return list(takewhile(lambda one: not _is_one_of(one, _LOOPS), frames))


# The function of a test that its framework called, if frames hold one.
def _called(frames: list[FrameRecord]) -> FrameRecord | None:
    for index in range(len(frames) - 1, 0, -1):
        if _is_one_of(frames[index], _CALLERS):
            named = [one for one in frames[:index] if _is_test(one)]
            return named[-1] if named else None
    return None


def _is_test(frame: FrameRecord) -> bool:
    return (frame.function or "").rpartition(".")[2].startswith("test")


# Its node id, as far as a function tells: a file's name there is relative to a folder
# that the frames of the test that runs now show, and the parameters are not known.
def _node(other: FrameRecord, now: str, known: list[FrameRecord]) -> str | None:
    file = now.partition("::")[0]
    if other.file is None or other.function is None or not _qualified(known):
        return None
    # A test that a class inherits has the qualified name of the base's.
    last = now.rpartition(" (")[0].partition("[")[0].rpartition("::")[2]
    if now.endswith(" (call)") and other.function.rpartition(".")[2] == last:
        return None
    root = next((one.file for one in known if one.file and _is_file(one, file)), None)
    if root is None or not other.file.startswith(root[: len(root) - len(file)]):
        return None
    relative = other.file[len(root) - len(file) :]
    return f"{relative}::{other.function.replace('.', '::')} (call)"
