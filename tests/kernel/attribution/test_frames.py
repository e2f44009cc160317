"""Python frames: what the kernel read is what Python itself sees."""

import json
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.pythons import INTERPRETERS, WALKED, minor
from support.watching import Json, Watched

Watch = Callable[..., Watched]
pytestmark = pytest.mark.userspace
STACKS = Path(__file__).parent / "sources/stacks.py"
MAX_FRAMES = 1024


def by_port(run: Watched) -> dict[int, Json]:
    """Return one connection for each port."""
    return {one["dst"]["port"]: one for one in run.of("connection")}


def stack_of(record: Json) -> list[list[object]]:
    """Return the frames of a connection as stacks.py writes them."""
    code = record["code"]
    assert code is not None, record["code_reason"]
    return [[one["function"], one["file"], one["line"]] for one in code["stack"]]


def check_stacks(run: Watched, truth: Path) -> None:
    """Assert that each call has exactly the stack that stacks.py wrote down."""
    assert run.status == 0, run.stderr
    found = {one["dst"]["ip"]: one for one in run.of("connection")}
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert len(lines) > 500
    for address, frames in lines:
        assert stack_of(found[address]) == frames[:MAX_FRAMES], address
        whole = len(frames) <= MAX_FRAMES
        assert (found[address]["code"]["stack_end"] is None) is whole
    assert run.end["unknown_code"] == 0
    assert run.end["losses"]["missed_frames"] == 0
    assert run.end["losses"]["missed_code"] == 0


@pytest.mark.parametrize("interpreter", WALKED)
def test_every_stack_is_pythons_own(
    watched: Watch, tmp_path: Path, interpreter: str
) -> None:
    truth = tmp_path / "truth.jsonl"

    run = watched(interpreter, str(STACKS), str(truth), options=["--quiet"])

    check_stacks(run, truth)


SUBINTERPRETERS = STACKS.with_name("subinterpreters.py")


def check_subinterpreters(run: Watched, version: int, file: str) -> None:
    """Assert that all interpreters' frames are there, or that it is said why not."""
    assert run.status == 0, run.stderr
    found = by_port(run)
    stacks = {
        port: [frame[:2] for frame in stack_of(one)] for port, one in found.items()
    }
    name = str(stack_of(found[7])[0][1])
    assert name in {"<string>", "<script>"}
    inside: list[list[object]] = [["dial", name], ["<module>", name]]
    between: list[list[object]] = [["middle", name], ["<module>", name]]
    module: list[object] = ["<module>", file]
    assert stacks[7] == [*inside, ["outer", file], module]
    assert stacks[10] == [*inside, *between, ["nested", file], module]
    assert [frame[2] for frame in stack_of(found[7])[:2]] == [4, 5]
    # From 3.12 to 3.14, the thread's own storage tells which of its interpreters runs;
    # of a running thread the kernel knows where that is on x86 alone.
    knows = 12 <= version <= 14 and platform.machine() == "x86_64"
    if version >= 12:
        assert stacks[8][:3] == [*inside, ["outer", file]]
    if knows:
        assert stacks[11] == [*inside, *between, ["nested", file], module]
    unsure = "there are several interpreters, and which one runs is not known"
    for port in (7, 8, 10, 11):
        end = found[port]["code"]["stack_end"]
        assert end == (None if knows else unsure)
    assert stack_of(found[9]) == [["<module>", file, 57]]
    assert found[9]["code"]["stack_end"] is None
    if 12 in found:
        assert stacks[12][:2] == inside
        assert stacks[12][-1] == module


@pytest.mark.parametrize("interpreter", WALKED)
def test_sub_interpreters(watched: Watch, interpreter: str) -> None:
    run = watched(interpreter, str(SUBINTERPRETERS))

    check_subinterpreters(run, minor(interpreter), str(SUBINTERPRETERS))


@pytest.mark.long
def test_sub_interpreters_of_the_newest_pythons(
    watched: Watch, newer_pythons: dict[str, Path]
) -> None:
    for name, root in newer_pythons.items():
        shutil.copy(SUBINTERPRETERS, root / "srv")
        file = "/srv/subinterpreters.py"

        run = watched("chroot", str(root), f"/usr/bin/{name}", file)

        check_subinterpreters(run, int(name.partition(".")[2]), file)
        assert (12 in by_port(run)) is (int(name.partition(".")[2]) >= 14)


# In root folders of their own: nothing there is known before it is first executed.
@pytest.mark.long
def test_every_stack_of_the_newest_pythons(
    watched: Watch, newer_pythons: dict[str, Path]
) -> None:
    assert newer_pythons
    for name, root in newer_pythons.items():
        truth = root / "srv/truth.jsonl"
        truth.unlink(missing_ok=True)
        shutil.copy(STACKS, root / "srv")
        words = ("chroot", str(root), f"/usr/bin/{name}", "/srv/stacks.py")

        run = watched(*words, "/srv/truth.jsonl", options=["--quiet"])

        check_stacks(run, truth)


# No package has one that is ready to run.
@pytest.mark.long
def test_every_stack_of_a_free_threaded_python(
    watched: Watch, tmp_path: Path, free_threaded: str
) -> None:
    threads = "import sys; assert not sys._is_gil_enabled()"
    truth = tmp_path / "truth.jsonl"

    run = watched(free_threaded, "-c", threads)
    assert run.status == 0, run.stderr
    run = watched(free_threaded, str(STACKS), str(truth), options=["--quiet"])
    check_stacks(run, truth)
    run = watched(free_threaded, str(SUBINTERPRETERS))
    check_subinterpreters(run, 13, str(SUBINTERPRETERS))


DIAL = """
import socket
def dial(port):
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", port))
"""


@pytest.mark.parametrize("interpreter", WALKED)
def test_the_first_call_of_a_short_life(watched: Watch, interpreter: str) -> None:
    # 100 processes that do nothing but call: each is found as it calls.
    code = "import _socket; _socket.socket().connect_ex(('127.0.0.1', 7))"
    script = f"for i in $(seq 100); do {interpreter} -I -S -c {shlex.quote(code)}; done"

    run = watched("sh", "-c", script)

    found = run.of("connection")
    assert len(found) == 100
    known = [one for one in found if one["code"] is not None]
    for record in known:
        assert stack_of(record) == [["<module>", "<string>", 1]]
    # The interpreter is nobody's that was known before: it is read as it first starts,
    # which takes as long as a start does.
    assert len(known) >= 95
    assert run.end["unknown_code"] == 100 - len(known)


def test_a_copy_of_an_interpreter_by_another_name(
    watched: Watch, tmp_path: Path
) -> None:
    copy = tmp_path / "surprise"
    copy.write_bytes(Path("/usr/bin/python3.11").read_bytes())
    copy.chmod(0o755)

    run = watched(str(copy), "-c", DIAL + "dial(7)")

    assert stack_of(by_port(run)[7])[-1] == ["<module>", "<string>", 6]


TESTS = """
import socket, subprocess, threading
import pytest

def dial(port):
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", port))

@pytest.fixture
def dialled():
    dial(12)
    yield
    dial(13)

def test_plain():
    dial(11)

class TestGroup:
    def test_method(self, dialled):
        dial(14)

@pytest.mark.parametrize("where", ["a::b (call)"])
def test_parameter(where):
    dial(15)

def test_thread():
    thread = threading.Thread(target=dial, args=(16,))
    thread.start()
    thread.join()

def test_child():
    subprocess.run(["curl", "-s", "http://127.0.0.1:17/"])

def test_grandchild():
    subprocess.run("curl -s http://127.0.0.1:18/; true", shell=True)

def test_removed_and_set(monkeypatch):
    monkeypatch.setenv("OTHER", "x")
    dial(19)
"""
NODES = {
    11: "test_net.py::test_plain (call)",
    12: "test_net.py::TestGroup::test_method (setup)",
    13: "test_net.py::TestGroup::test_method (teardown)",
    14: "test_net.py::TestGroup::test_method (call)",
    15: "test_net.py::test_parameter[a::b (call)] (call)",
    16: "test_net.py::test_thread (call)",
    17: "test_net.py::test_child (call)",
    18: "test_net.py::test_grandchild (call)",
    19: "test_net.py::test_removed_and_set (call)",
}


def test_violations_name_their_tests(watched: Watch, tmp_path: Path) -> None:
    (tmp_path / "test_net.py").write_text(TESTS)
    pytest_run = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_net.py")

    run = watched(
        sys.executable, *pytest_run, policy="version = 1\n[local]\nlisteners = 'deny'\n"
    )

    found = by_port(run)
    assert {port: one["code"]["test"] for port, one in found.items()} == NODES
    for port, record in found.items():
        assert record["verdict"] == "violation"
        assert record["code"]["test_confirmed"] is True, port
        assert NODES[port] in run.stderr
    assert stack_of(found[11])[1][0] == "test_plain"
    starter = found[16]["code"]["started_by"]
    assert "test_thread" in [one["function"] for one in starter]
    for port in (17, 18):
        child = found[port]["code"]
        assert (child["language"], child["stack"]) == (None, None)
        assert child["stack_end"] == "the process does not run Python"
        functions = [one["function"] for one in child["started_by"]]
        assert NODES[port].partition("::")[2].partition(" ")[0] in functions


OLD = [one for one in INTERPRETERS if 7 <= minor(one) < 9]
FORKS = """
import os
if not os.fork():
    dial(8)
    os.execlp("curl", "curl", "-s", "http://127.0.0.1:9/")
os.wait()
dial(7)
"""


@pytest.mark.parametrize("interpreter", OLD)
def test_an_interpreter_that_cannot_be_walked_says_why(
    watched: Watch, interpreter: str
) -> None:
    run = watched(interpreter, "-c", DIAL + FORKS)

    found = by_port(run)
    reasons = {port: one["code_reason"] for port, one in found.items()}
    assert reasons == {
        7: "CPython before 3.9",
        8: "CPython before 3.9",
        9: "the process does not run Python",
    }
    assert [found[port]["code_status"] for port in (7, 8, 9)] == [
        "unknown",
        "unknown",
        "none",
    ]
    assert run.end["unknown_code"] == 2


def test_a_process_without_python(watched: Watch) -> None:
    run = watched("curl", "-s", "http://127.0.0.1:7/")

    (record,) = run.of("connection")
    assert record["code"] is None
    assert record["code_reason"] == "the process does not run Python"
    assert run.end["unknown_code"] == 0


@pytest.mark.parametrize("level", ["module", "process"])
def test_frames_that_are_not_asked_for(watched: Watch, level: str) -> None:
    run = watched("python3", "-c", DIAL + "dial(7)", options=["--attribution", level])

    (record,) = run.of("connection")
    assert (record["code"], record["code_reason"]) == (None, f"--attribution {level}")
    assert not any(hook.startswith("frames") for hook in run.records[0]["hooks"])


def test_what_a_package_owns(watched: Watch, python: str) -> None:
    run = watched(python, "-c", "import requests; requests.get('http://127.0.0.1:7/')")

    (record,) = run.of("connection")
    code = record["code"]
    assert code["function"] == "create_connection"
    assert code["file"].endswith("/urllib3/util/connection.py")
    assert code["package"]["name"] == "urllib3"
    assert code["stack"][-1] == {"function": "<module>", "file": "<string>", "line": 1}


HOSTILE = {
    "a forged name": (
        """
def f(): dial(7)
name = "x\\x1b[31m\\n\\u202e" + "y" * 2000
f.__code__ = f.__code__.replace(co_filename=name, co_name=name)
f()
""",
        None,
    ),
    "frames in a circle": (
        """
import ctypes, struct, sys
def f():
    frame = ctypes.c_void_p.from_address(id(sys._getframe()) + 24).value
    word = ctypes.c_uint64.from_address(frame + 48)
    outer, word.value = word.value, frame
    s.connect_ex(("127.0.0.1", 7))
    word.value = outer
s = socket.socket()
f()
""",
        r"at least \d+ more frames were not kept",
    ),
    "frames in the wild": (
        """
import ctypes, sys
def f():
    frame = ctypes.c_void_p.from_address(id(sys._getframe()) + 24).value
    word = ctypes.c_uint64.from_address(frame + 48)
    outer, word.value = word.value, 0x4141414141414141
    s.connect_ex(("127.0.0.1", 7))
    word.value = outer
s = socket.socket()
f()
""",
        "the process's memory could not be read farther",
    ),
    "a frame that is none": (
        """
import ctypes, sys
def f():
    frame = ctypes.c_void_p.from_address(id(sys._getframe()) + 24).value
    word = ctypes.c_uint64.from_address(frame + 48)
    outer, word.value = word.value, id(bytes(4096)) + 64
    s.connect_ex(("127.0.0.1", 7))
    word.value = outer
junk = bytes(4096)
s = socket.socket()
f()
""",
        ".*",
    ),
}


# Python 3.11's own structures: pycore_frame.h.
@pytest.mark.parametrize("attack", HOSTILE)
def test_a_process_that_forges_its_frames(watched: Watch, attack: str) -> None:
    code, end = HOSTILE[attack]

    run = watched("/usr/bin/python3.11", "-c", DIAL + code)

    assert run.status == 0, run.stderr
    (record,) = run.of("connection")
    assert record["code"]["stack"]
    if end is None:
        assert record["code"]["stack_end"] is None
    else:
        assert re.fullmatch(end, record["code"]["stack_end"])
    assert run.end["verdict"] == "clean"
    assert "\x1b" not in run.stderr


def test_code_objects_without_end(watched: Watch) -> None:
    # 40,000 functions, each called once. What is too much has no name, or no frames;
    # what has a name has the right one.
    code = f"""{DIAL}
for n in range(800):
    lines = [f"def f{{n}}_{{k}}(): f{{n}}_{{k + 1}}()" for k in range(50)]
    space = {{"dial": dial}}
    exec("\\n".join([*lines, f"def f{{n}}_50(): dial(7)"]), space)
    space[f"f{{n}}_0"]()
"""

    run = watched("python3", "-c", code)

    assert run.status == 0, run.stderr
    found = run.of("connection")
    assert len(found) == 800
    assert run.end["verdict"] == "clean"
    reasons = [one["code_reason"] for one in found]
    # On a busy machine the first calls come before the probes are told of this Python;
    # once they are, they stay so.
    late = reasons.count("the probes did not know the interpreter at the call")
    missed = reasons.count("the Python frames did not fit the ring")
    assert len(set(reasons[:late])) <= 1
    for n, record in enumerate(found):
        if record["code"] is None:
            continue
        functions = [one["function"] for one in record["code"]["stack"]]
        wanted = ["dial", *(f"f{n}_{k}" for k in range(50, -1, -1)), "<module>"]
        assert len(functions) == len(wanted)
        for function, name in zip(functions, wanted, strict=True):
            assert function in {name, None}
    assert late + missed == run.end["unknown_code"] == 800 - reasons.count(None)
    assert missed == run.end["losses"]["missed_frames"]


@pytest.mark.parametrize("early", [[], ["9"]], ids=["first", "after another call"])
def test_python_in_another_program(
    watched: Watch, compiled: Callable[..., str], early: list[str]
) -> None:
    program = compiled("embed", "embed", "-ldl")
    # Debian's libpython3-dev brings it.
    library = next(Path("/usr/lib").glob("*/libpython3.*.so.1.0"))

    run = watched(program, str(library), DIAL + "dial(7)", *early)

    assert run.status == 0, run.stderr
    found = by_port(run)
    if early:
        assert found[9]["code"] is None
    code = found[7]["code"]
    assert code is not None, found[7]["code_reason"]
    assert stack_of(found[7]) == [["dial", "<string>", 5], ["<module>", "<string>", 6]]
