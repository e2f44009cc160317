"""From what the probes tell of frames to functions, tests and starters."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.attribution.packages.lookup import Packages
from egressmon.attribution.python.code import NoFrames, PythonCode
from egressmon.attribution.python.frames import PythonFrames, Walk, is_standard
from egressmon.attribution.python.running_test import (
    RunningTest,
    confirms,
    running_test,
)
from egressmon.attribution.stage import Attributor
from egressmon.events.decode import DecodeError, decode
from egressmon.events.model import CodeObject, Flow, Frames
from egressmon.evidence.records.code import CodeRecord, FrameRecord, StackReference
from egressmon.probes.wire import CONSTANTS, LAYOUTS
from support.events import event, flow

START, EXEC = 77, 3


def code_event(
    code: int, file: bytes, name: bytes, lines: bytes = b"", **fields: object
) -> bytes:
    known: dict[str, object] = {
        "tgid": 100,
        "start_ns": START,
        "exec_id": EXEC,
        "code": code,
        "fingerprint": 1,
        "minor": 10,
        "first_line": 5,
        "file_size": len(file),
        "name_size": len(name),
        "lines_size": len(lines),
        **fields,
    }
    return event("code_event", "KIND_CODE", file + name + lines, **known)


def frames_event(*frames: tuple[int, int, int], **fields: object) -> bytes:
    known: dict[str, object] = {
        "tgid": 100,
        "tid": 100,
        "start_ns": START,
        "exec_id": EXEC,
        "ktime_ns": 9,
        "count": len(frames),
        "total": len(frames),
        **fields,
    }
    payload = b"".join(struct.pack("=QIi", *frame) for frame in frames)
    return event("frames_event", "KIND_FRAMES", payload, **known)


def told(data: bytes) -> CodeObject:
    found = decode(data)
    assert isinstance(found, CodeObject)
    return found


def walked(data: bytes) -> Frames:
    found = decode(data)
    assert isinstance(found, Frames)
    return found


def flow_of(data: bytes) -> Flow:
    found = decode(data)
    assert isinstance(found, Flow)
    return found


class Forgotten(list[bytes]):
    """The keys of code objects that are not kept."""

    def __call__(self, key: bytes) -> None:
        self.append(key)


class Probes:
    """Takes what it is told, as the probes' maps would."""

    def add(self, interpreter: bytes) -> bool:
        return bool(interpreter)

    def look_again(self) -> None:
        pass

    def forget_code(self, key: bytes) -> None:
        pass

    context_programs = -1, -1

    def watch_copies(self, path: str, offset: int, pid: int = -1) -> int:
        raise OSError(f"{path} at {offset} in {pid}")

    def watch_makers(self, path: str, offset: int) -> int:
        raise OSError(f"{path} at {offset}")


class Sites:
    """Takes call sites, as the probes' map would."""

    def remember(self, key: bytes, template: bytes) -> None:
        pass

    def forget(self, key: bytes) -> None:
        pass


def test_texts_of_each_width() -> None:
    name = "f\u00fcr"
    for kind, encoding in ((1, "latin-1"), (2, "utf-16-le"), (4, "utf-32-le")):
        data = name.encode(encoding)
        found = told(code_event(1, b"a.py", data, name_kind=kind))
        assert (found.file, found.name) == ("a.py", name)


def test_missing_and_cut_parts() -> None:
    missing = CONSTANTS["CODE_NO_FILE"] | CONSTANTS["CODE_NO_LINES"]
    found = told(code_event(1, b"", b"f", missing=missing))
    assert (found.file, found.name, found.lines) == (None, "f", None)

    cut = told(code_event(1, b"a", b"f", missing=CONSTANTS["CODE_CUT_FILE"]))
    assert cut.file == "a…"


@given(st.binary(max_size=400), st.sampled_from(["frames_event", "code_event"]))
def test_any_bytes_are_an_event_or_refused(data: bytes, name: str) -> None:
    kind = CONSTANTS["KIND_FRAMES" if name == "frames_event" else "KIND_CODE"]
    data = data[:8] + kind.to_bytes(4, "little") + data[12:]
    with suppress(DecodeError):
        decode(data)


def test_frames_are_named_and_secrets_are_not() -> None:
    frames = PythonFrames(Forgotten())
    secret = b"token=abcdef123456"
    frames.on_code_object(told(code_event(1, b"/x/net.py", b"f", b"\x04\x02")))
    frames.on_code_object(told(code_event(2, b"/x/" + secret, b"g", b"")))

    walk = frames.on_frames(walked(frames_event((1, 1, 0), (2, 1, -1), (3, 1, 0))))

    assert walk.frames[0] == FrameRecord("f", "/x/net.py", 7)
    assert walk.frames[1].line == 5
    assert "abcdef" not in str(walk.frames[1].file)
    assert walk.frames[2] == FrameRecord(None, None, None)
    assert walk.end == "1 code objects were not told of: too many at once"


def test_the_source_is_what_the_standard_library_is_not() -> None:
    frames = PythonFrames(Forgotten())
    library = b"/usr/lib/python3.11/socket.py"
    frames.on_code_object(told(code_event(1, library, b"create_connection")))
    frames.on_code_object(told(code_event(2, b"/app/net.py", b"fetch")))

    own = frames.on_frames(walked(frames_event((1, 1, 0), (2, 1, 0))))
    none = frames.on_frames(walked(frames_event((1, 1, 0))))

    assert own.source is not None
    assert own.source.function == "fetch"
    assert none.source is not None
    assert none.source.function == "create_connection"


@pytest.mark.parametrize(
    ("file", "standard"),
    [
        ("/usr/lib/python3.11/socket.py", True),
        ("/opt/x/lib64/python3.13t/asyncio/base_events.py", True),
        ("/usr/lib/python311.zip/socket.py", True),
        ("<frozen importlib._bootstrap>", True),
        ("/v/lib/python3.11/site-packages/requests/api.py", False),
        ("/usr/lib/python3/dist-packages/apt/cache.py", False),
        ("/app/net.py", False),
        ("<string>", False),
    ],
)
def test_what_is_of_the_standard_library(file: str, standard: bool) -> None:  # noqa: FBT001
    assert is_standard(file) is standard


def test_code_of_another_program_or_process_is_not_taken() -> None:
    frames = PythonFrames(Forgotten())
    frames.on_code_object(told(code_event(1, b"a.py", b"f")))

    for other in ({"tgid": 101}, {"exec_id": EXEC + 1}, {"start_ns": START + 1}):
        walk = frames.on_frames(walked(frames_event((1, 1, 0), **other)))
        assert walk.frames[0].function is None
    frames.on_executed(100)
    assert frames.on_frames(walked(frames_event((1, 1, 0)))).frames[0].function is None


def test_code_beyond_the_bounds_is_asked_for_again() -> None:
    forgotten = Forgotten()
    frames = PythonFrames(forgotten)
    lines = bytes(16384)
    for number in range(2100):  # more than 32 MiB of them
        frames.on_code_object(told(code_event(number, b"a.py", b"f", lines)))

    assert forgotten
    key = LAYOUTS["code_key"].unpack(forgotten[0])
    assert key == (START, 0, 100, EXEC, 1, 0)
    assert frames.on_frames(walked(frames_event((0, 1, 0)))).frames[0].function is None
    assert (
        frames.on_frames(walked(frames_event((2099, 1, 0)))).frames[0].function == "f"
    )


def test_who_started_what() -> None:
    frames = PythonFrames(Forgotten())
    frames.on_code_object(told(code_event(1, b"a.py", b"starter")))
    frames.on_frames(walked(frames_event((1, 1, 0), child=101, child_ns=5)))
    frames.on_frames(walked(frames_event((1, 1, 0), child=200, child_ns=6, test=b"t")))
    frames.on_forked(200, 6, 100)
    frames.on_forked(300, 8, 200)

    thread = frames.started(100, 101, 5)
    assert thread is not None
    assert thread.frames[0].function == "starter"
    frames.on_frames(walked(frames_event(tid=101, thread_ns=5, child=102, child_ns=7)))
    second = frames.started(100, 102, 7)
    assert second is not None
    assert second.frames[0].function == "starter"
    assert frames.started(100, 101, 4) is None  # another thread of that number
    assert frames.started(100, 100, 0) is None
    grandchild = frames.started(300, 300, 0)
    assert grandchild is not None
    assert grandchild.test == "t"
    frames.on_ended(300)
    assert frames.started(300, 300, 0) is None


TEST = FrameRecord("TestNet.test_fetch", "/repo/tests/test_net.py", 3)
OLD = FrameRecord("test_fetch", "/repo/tests/test_net.py", 3)  # before 3.11
SETUP = FrameRecord("pytest_runtest_setup", "/v/_pytest/runner.py", 1)


@pytest.mark.parametrize(
    ("test", "frame", "confirmed"),
    [
        ("tests/test_net.py::TestNet::test_fetch (call)", TEST, True),
        ("tests/test_net.py::TestNet::test_fetch[a::b (call)] (call)", TEST, True),
        ("tests/test_net.py::TestNet::test_other (call)", TEST, False),
        ("tests/test_other.py::TestNet::test_fetch (call)", TEST, False),
        ("tests/test_net.py::test_fetch (setup)", SETUP, True),
        ("tests/test_net.py::test_fetch (teardown)", SETUP, False),
        ("tests/test_net.py::TestOther::test_fetch (call)", TEST, False),
        ("tests/test_net.py::test_fetch (call)", TEST, False),
        ("est_net.py::TestNet::test_fetch (call)", TEST, False),
        ("tests/test_net.py::TestNet::test_fetch (call)", OLD, True),
        ("nonsense", TEST, False),
        ("", TEST, False),
    ],
)
def test_a_test_is_confirmed_by_the_stack(
    test: str,
    frame: FrameRecord,
    confirmed: bool,  # noqa: FBT001
) -> None:
    assert confirms(test, [frame]) is confirmed


def frame(function: str, file: str = "/repo/tests/test_net.py") -> FrameRecord:
    return FrameRecord(function, file, 1)


LOOP = frame("Handle._run", "/usr/lib/python3.11/asyncio/events.py")
PYTEST = frame("pytest_pyfunc_call", "/v/_pytest/python.py")
HOOK = frame("HookCaller.__call__", "/v/pluggy/_hooks.py")
NOW = "tests/test_net.py::test_innocent (call)"
INNOCENT = [LOOP, frame("test_innocent"), PYTEST, HOOK]
GUILTY = [frame("test_guilty"), PYTEST, HOOK]


def runner(*functions: str) -> list[FrameRecord]:
    return [frame(one, "/usr/lib/python3.11/asyncio/runners.py") for one in functions]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        # Nothing tells who made what the loop runs.
        ([], RunningTest(NOW, confirmed=False)),
        (
            [[frame("test_guilty"), PYTEST, HOOK]],
            RunningTest("tests/test_net.py::test_guilty (call)", True, NOW),
        ),
        (
            [
                [frame("leak"), *INNOCENT],
                [frame("TestGuilty.test_it"), PYTEST, HOOK],
            ],
            RunningTest("tests/test_net.py::TestGuilty::test_it (call)", True, NOW),
        ),
        # In the same folder or not: of another root nobody knows its node.
        (
            [[frame("test_guilty", "/other/test_a.py"), PYTEST, HOOK]],
            RunningTest(NOW, confirmed=False),
        ),
        # Perhaps inherited.
        (
            [[frame("TestBase.test_innocent"), PYTEST, HOOK]],
            RunningTest(NOW, confirmed=False),
        ),
        ([[*INNOCENT[1:]]], RunningTest(NOW, confirmed=True)),
        # asyncio.run() runs one thing; a Runner runs one after the other.
        (
            [[*runner("Runner._lazy_init", "Runner.__enter__", "run"), *GUILTY]],
            RunningTest("tests/test_net.py::test_guilty (call)", True, NOW),
        ),
        (
            [[*runner("Runner._lazy_init", "Runner.run"), *GUILTY]],
            RunningTest(NOW, confirmed=False),
        ),
        (
            [[*runner("Runner._lazy_init", "Runner.run"), *INNOCENT[1:]]],
            RunningTest(NOW, confirmed=True),
        ),
        (
            [[frame("test_innocent"), LOOP, PYTEST], [frame("wrapper"), PYTEST, HOOK]],
            RunningTest(NOW, confirmed=True),
        ),
    ],
)
def test_who_made_a_task_is_its_test_and_not_who_runs_the_loop(
    levels: list[list[FrameRecord]], expected: RunningTest
) -> None:
    walk = Walk([frame("leak"), *INNOCENT], None, NOW)

    assert running_test(walk, levels, None) == expected


MISSING = NoFrames("no CPython was found")


def functions(reference: StackReference | None) -> list[str | None]:
    assert reference is not None
    record = reference.record
    return [None if row[0] is None else record.names[row[0]] for row in record.frames]


def python_code() -> PythonCode:
    code = PythonCode(Probes(), Packages())
    code.on_frames(told(code_event(1, b"a.py", b"f", b"\x04\x00")))
    code.on_frames(told(code_event(2, b"a.py", b"creator")))
    return code


def test_the_frames_of_a_connection_are_those_that_it_refers_to() -> None:
    code = python_code()
    code.on_frames(walked(frames_event((1, 1, 0), ktime_ns=9)))
    code.on_frames(walked(frames_event((2, 1, 0), ktime_ns=9, level=1)))
    code.on_frames(walked(frames_event((2, 1, 0), ktime_ns=10, tid=101)))

    found = code.of(flow_of(flow("192.0.2.1", 1, frames_ns=9)), MISSING)

    assert isinstance(found, CodeRecord)
    assert functions(found.stack) == ["f"]
    assert functions(found.created_by) == ["creator"]
    assert found.created_by_end is None
    assert (found.language, found.function, found.line) == ("python", "f", 5)


def test_a_creator_that_was_not_seen() -> None:
    code = python_code()
    code.on_frames(walked(frames_event((1, 1, 0), ktime_ns=9)))
    code.on_frames(walked(frames_event((2, 1, 0), ktime_ns=9, level=1)))
    unnoted = CONSTANTS["FRAMES_UNNOTED"]
    code.on_frames(walked(frames_event(ktime_ns=9, level=2, status=unnoted)))

    found = code.of(flow_of(flow("192.0.2.1", 1, frames_ns=9)), MISSING)

    assert isinstance(found, CodeRecord)
    assert len(functions(found.created_by)) == 1
    assert found.created_by_end == "who created it was not seen"


def test_a_creator_by_way_of_a_callback() -> None:
    code = python_code()
    code.on_frames(walked(frames_event((1, 1, 0), ktime_ns=9)))
    code.on_frames(walked(frames_event((2, 1, 0), ktime_ns=9, level=1, callback=1)))

    found = code.of(flow_of(flow("192.0.2.1", 1, frames_ns=9)), MISSING)

    assert isinstance(found, CodeRecord)
    assert functions(found.created_by) == ["creator"]
    assert found.created_by_end is not None
    assert found.created_by_end.startswith("by way of a callback")


# On arm64 the kernel may not know yet which thread it is.
def test_a_thread_that_is_not_told_apart_has_no_frames() -> None:
    status = CONSTANTS["FRAMES_NO_POINTER"]
    code = python_code()
    code.on_frames(walked(frames_event(ktime_ns=9, status=status)))

    found = code.of(flow_of(flow("192.0.2.1", 1, frames_ns=9)), MISSING)

    assert isinstance(found, CodeRecord)
    assert found.function is None
    assert found.stack_end is not None
    assert found.stack_end.endswith("does not know yet which one runs (arm64)")


def test_a_stack_of_several_interpreters_says_that_it_may_be_another() -> None:
    code = python_code()
    code.on_frames(
        walked(
            frames_event((1, 1, 0), ktime_ns=9, status=CONSTANTS["FRAMES_UNSURE"]),
        )
    )

    found = code.of(flow_of(flow("192.0.2.1", 1, frames_ns=9)), MISSING)

    assert isinstance(found, CodeRecord)
    reason = "there are several interpreters, and which one runs is not known"
    assert found.stack_end == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no CPython was found"),
        ({"frames_ns": 10}, "too many calls before it: its frames are forgotten"),
        (
            {"flags": CONSTANTS["FLAG_FRAMES_LOST"]},
            "the Python frames did not fit the ring",
        ),
        ({"frames_ns": 9, "tid": 101}, "too many calls before it: its frames are f"),
    ],
)
def test_frames_that_are_missing(fields: dict[str, int], reason: str) -> None:
    code = python_code()
    code.on_frames(walked(frames_event((1, 1, 0), ktime_ns=9)))

    call = flow_of(flow("192.0.2.1", 1, "KIND_CONNECT", **fields))
    found = code.of(call, MISSING)

    assert isinstance(found, NoFrames)
    assert found.may_be_python
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("FLAG_STACK_LOST", "the caller's stack did not fit the ring"),
        ("FLAG_OWNERLESS", "the kernel named no owner of the packet's socket"),
    ],
)
def test_without_modules_nobody_says_that_it_is_not_python(
    flags: str, reason: str
) -> None:
    attributor = Attributor(Sites(), Probes(), "", None)

    found = attributor.attribute(flow_of(flow("192.0.2.1", 1, flags=CONSTANTS[flags])))

    assert (found.code, found.code_reason) == (None, reason)
    assert found.code_status == "unknown"


def test_a_number_that_is_used_again_has_another_origin() -> None:
    frames = PythonFrames(Forgotten())
    frames.on_code_object(told(code_event(1, b"a.py", b"starter")))
    frames.on_frames(walked(frames_event((1, 1, 0), child=200, child_ns=6)))
    frames.on_forked(200, 6, 100)
    assert frames.started(200, 200, 0) is not None

    frames.on_forked(200, 9, 50)  # its end was not told of

    assert frames.started(200, 200, 0) is None


def test_a_test_whose_name_does_not_fit_says_so() -> None:
    name = b"t" * (CONSTANTS["TEST_SIZE"] - 1)

    assert walked(frames_event(test=name)).test == name.decode() + "…"
    assert walked(frames_event(test=name[:-1])).test == name[:-1].decode()
    assert walked(frames_event(test=b"")).test is None
