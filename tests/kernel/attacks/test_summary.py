"""What people read of a hostile run is true, and no CI system takes it for commands."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from support.lab import HTTP_PORT, OTHER4, OTHER_PORT, SERVER4, Lab
from support.watching import WATCH, Watched

Watch = Callable[..., Watched]

DIAL = (
    "import socket; s = socket.socket(); s.settimeout(2); "
    f"s.connect_ex(('{OTHER4}', {HTTP_PORT})); s.close()"
)
HOSTILE = (
    "A" * 60 + " ::error file=a.py,line=1::forged " + "B" * 30 + " ::set-output::y"
)
COMMANDS = re.compile(r"##\w*\[|^\s*::|section_(start|end):", re.MULTILINE)
STRICT = 'version = 1\nenforce = "fail"\n'
LEAK = f"""
import socket, subprocess, sys, threading, time

def dial():
    with socket.socket() as one:
        one.settimeout(2)
        one.connect_ex(("{OTHER4}", {HTTP_PORT}))
    done.set()

done, go = threading.Event(), threading.Event()

def wait():
    go.wait()
    dial()

def test_leak():
    threading.Thread(target=wait).start()

def test_victim():
    go.set()
    done.wait()

def test_child():
    code = "import socket; s = socket.socket(); s.settimeout(2); "
    code += "s.connect_ex(('{OTHER4}', {OTHER_PORT}))"
    subprocess.run([sys.executable, "-S", "-c", code], env={{}})
"""


FORKED = f"""
import multiprocessing, socket

def dial(port):
    context = multiprocessing.get_context("forkserver")
    child = context.Process(
        target=socket.create_connection, args=(("{OTHER4}", port), 2)
    )
    child.start()
    child.join()

def test_first():
    dial({HTTP_PORT})

def test_second():
    dial({OTHER_PORT})
"""


def github(page: Path) -> Mapping[str, str]:
    """Return the environment of a step in GitHub Actions."""
    return {
        **os.environ,
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(page),
        "GITHUB_WORKSPACE": str(page.parent),
    }


def annotations(run: Watched) -> list[str]:
    """Return the lines of a run that the runner takes for commands."""
    return [one for one in run.stderr.splitlines() if COMMANDS.search(one)]


def row(run: Watched, destination: str) -> str:
    """Return the summary's only row of destination."""
    lines = run.stderr.splitlines()
    (found,) = (one for one in lines if re.match(rf"  \d+x {destination}", one))
    return found


def test_threads_that_name_themselves_are_one_program(watched: Watch) -> None:
    code = f"""
import ctypes, threading
def work(number):
    ctypes.CDLL(None).prctl(15, b"worker-%d" % number, 0, 0, 0)
    exec("import socket; socket.socket().connect_ex(('{OTHER4}', {HTTP_PORT}))")
for number in range(4):
    one = threading.Thread(target=work, args=(number,))
    one.start()
    one.join()
"""

    run = watched("/usr/bin/python3", "-c", code)

    found = row(run, re.escape(f"{OTHER4}:{HTTP_PORT}/tcp"))
    count, where, by, program = found.split()[:4]
    assert (count, where, by) == ("4x", f"{OTHER4}:{HTTP_PORT}/tcp", "by")
    assert program.startswith("python3")
    assert "worker" not in run.stderr
    # What the row says, it says once.
    assert found.count(OTHER4) == 1
    assert found.rstrip().endswith("no allow entry covers it")


@pytest.fixture
def tests(watched: Watch, tmp_path: Path) -> Watched:
    (tmp_path / "test_leak.py").write_text(LEAK)
    page = tmp_path / "page.md"
    return watched(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        "test_leak.py",
        environment=github(page),
    )


def test_who_started_the_thread_is_named_and_not_who_ran_meanwhile(
    tests: Watched, tmp_path: Path
) -> None:
    thread, child = sorted(
        tests.of("connection"), key=lambda one: one["dst"]["port"] == OTHER_PORT
    )

    assert thread["code"]["test"] == "test_leak.py::test_leak (call)"
    assert thread["code"]["test_at_call"] == "test_leak.py::test_victim (call)"
    assert child["code"]["test"] == "test_leak.py::test_child (call)"
    named = "test_leak.py::test_leak (call), during test_leak.py::test_victim (call)"
    assert named in row(tests, re.escape(f"{OTHER4}:{HTTP_PORT}/tcp"))
    assert named in (tmp_path / "page.md").read_text()
    first = next(one for one in annotations(tests) if f":{HTTP_PORT}/tcp" in one)
    assert ",file=test_leak.py,line=" in first.partition("::")[2].partition("::")[0]
    assert named in first


LOOP = f"""
import asyncio

loop = asyncio.new_event_loop()

async def leak(port):
    await asyncio.sleep(0)
    try:
        await asyncio.wait_for(asyncio.open_connection("{OTHER4}", port), 2)
    except (OSError, asyncio.TimeoutError):
        pass

async def gathered():
    await asyncio.gather(*(one for one in asyncio.all_tasks()
                           if one is not asyncio.current_task()))

def test_guilty():
    loop.create_task(leak({HTTP_PORT}))

def test_innocent():
    loop.run_until_complete(gathered())

class TestGuilty:
    def test_it(self):
        loop.create_task(leak({OTHER_PORT}))

class TestInnocent:
    def test_it(self):
        loop.run_until_complete(gathered())
"""


def test_who_made_a_task_is_named_and_not_who_ran_the_loop(
    watched: Watch, tmp_path: Path
) -> None:
    (tmp_path / "test_loop.py").write_text(LOOP)

    run = watched(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        "test_loop.py",
    )

    first, second = sorted(
        run.of("connection"), key=lambda one: one["dst"]["port"] == OTHER_PORT
    )
    told = first["code"]
    assert told["test"] == "test_loop.py::test_guilty (call)"
    assert told["test_at_call"] == "test_loop.py::test_innocent (call)"
    # A method of that name may be inherited.
    assert second["code"]["test"] == "test_loop.py::TestInnocent::test_it (call)"
    assert second["code"]["test_confirmed"] is False


# The fork server has the environment of the test that needed one first.
def test_a_test_that_no_stack_confirms_is_marked(
    watched: Watch, tmp_path: Path
) -> None:
    (tmp_path / "test_forked.py").write_text(FORKED)

    run = watched(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        "test_forked.py",
    )

    first, second = run.of("connection")
    for one in (first, second):
        assert one["code"]["test"] == "test_forked.py::test_first (call)"
    assert second["code"]["test_confirmed"] is False
    assert "test_first (call) (claimed)" in row(run, f"{OTHER4}:{OTHER_PORT}/tcp")


def test_what_a_test_says_of_itself_is_marked_and_no_command(
    watched: Watch, tmp_path: Path
) -> None:
    code = f"import os; os.environ['PYTEST_CURRENT_TEST'] = {HOSTILE!r}; {DIAL}"
    page = tmp_path / "page.md"

    run = watched("/usr/bin/python3", "-c", code, environment=github(page))

    assert "(claimed)" in row(run, re.escape(f"{OTHER4}:{HTTP_PORT}/tcp"))
    (own,) = annotations(run)
    told = f"::1x {OTHER4}:{HTTP_PORT}/tcp by python3"
    assert own.startswith(f"::warning title=Egress violation{told}")


@pytest.mark.parametrize("text", ["##[add-mask]x", "##vso[task.x]y", "a ##[error]z"])
def test_commands_anywhere_in_a_line_are_broken(watched: Watch, text: str) -> None:
    code = f"import os; os.environ['PYTEST_CURRENT_TEST'] = {text!r}; {DIAL}"

    run = watched("/usr/bin/python3", "-c", code)

    assert annotations(run) == []
    assert r"\x23#" in run.stderr


# A terminal folds: what follows a fold begins a line.
def test_a_folded_line_begins_no_command(network: Lab, tmp_path: Path) -> None:
    code = f"import os; os.environ['PYTEST_CURRENT_TEST'] = {HOSTILE!r}; {DIAL}"
    for width in range(60, 100, 13):
        leader, terminal = pty.openpty()
        words = [*network.enter(), *WATCH, "--", "/usr/bin/python3", "-c", code]
        environment = {**os.environ, "COLUMNS": str(width), "NO_COLOR": "1"}
        process = subprocess.Popen(
            words, stderr=terminal, cwd=tmp_path, env=environment
        )
        os.close(terminal)
        data = b""
        try:
            while part := os.read(leader, 4096):
                data += part
        except OSError:
            pass  # a terminal without writers reads as EIO
        process.wait()
        os.close(leader)

        assert b"violations" in data
        assert not COMMANDS.search(data.decode())


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("mv $1 $1.gone; echo '### egressmon: clean' >$1", "replaced by another file"),
        ("rm $1; ln -s /etc/hostname $1", "replaced by another file"),
        ("rm $1; mkfifo $1", "replaced by another file"),
        ("rm $1", "removed"),
        (": >$1", "cut"),
    ],
)
def test_a_page_that_is_another_by_the_end_is_not_written(
    watched: Watch, tmp_path: Path, how: str, why: str
) -> None:
    page = tmp_path / "page.md"
    page.write_text("of an earlier step\n")
    first = page.stat().st_ino
    before = Path("/etc/hostname").read_bytes()

    run = watched("sh", "-c", how, "sh", str(page), environment=github(page))

    assert run.status == 121, run.stderr
    assert f"incomplete: the job's summary page was {why}" in run.stderr
    assert Path("/etc/hostname").read_bytes() == before
    for one in (page, Path(f"{page}.gone")):
        if one.is_file() and not one.is_symlink():
            assert "egressmon: incomplete" not in one.read_text(), first


def test_a_page_that_the_command_added_to_is_written(
    watched: Watch, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"

    run = watched("sh", "-c", 'echo mine >>"$1"', "sh", str(page),
                  environment=github(page))  # fmt: skip

    assert run.status == 0, run.stderr
    assert page.read_text().startswith("mine\n### egressmon: clean\n")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_page_that_is_no_file_is_left_alone(
    watched: Watch, tmp_path: Path, kind: str
) -> None:
    page = tmp_path / "page.md"
    if kind == "pipe":
        os.mkfifo(page)
    else:
        page = Path("/dev/full")

    run = watched("true", environment=github(page))

    assert run.status == 0, run.stderr
    assert "no summary page: not a regular file" in run.stderr


def test_a_headline_says_what_is_in_violation(watched: Watch) -> None:
    code = "import socket; socket.getaddrinfo('evil.example.test', 80)"

    run = watched("/usr/bin/python3", "-c", code, policy=STRICT)

    assert run.status == 120
    head = run.stderr.splitlines()[0]
    assert re.search(r"DNS look-ups?: \d in violation", head), head
    found = row(run, "lookup of evil")
    assert found.rstrip().endswith("no allow entry covers it")


def test_a_command_that_was_not_found_is_not_called_clean(
    watched: Watch, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"

    run = watched("no-such-command", environment=github(page))

    assert run.status == 127
    assert "egressmon: not run: no-such-command was not found" in run.stderr
    assert run.end["verdict"] == "incomplete"
    assert "clean" not in run.stderr + page.read_text()


def test_annotations_say_when_not_all_are_shown(watched: Watch, tmp_path: Path) -> None:
    code = f"""
import socket
for port in range(15):
    with socket.socket() as one:
        one.connect_ex(("{SERVER4}", 9100 + port))
"""

    run = watched(
        *("/usr/bin/python3", "-c", code), environment=github(tmp_path / "page.md")
    )

    found = annotations(run)
    assert len(found) == 10
    assert "6 more are not shown here" in found[-1]
