"""Through sudo, the command gets what its caller handed down, and nothing of root's."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from support.users import NOBODY, PATH, as_nobody
from support.watching import LIMIT_S

pytestmark = pytest.mark.userspace

LAUNCHER = str(Path(sys.executable).with_name("egressmon"))
WATCH = (LAUNCHER, "watch", "--quiet", "--evidence", "e.jsonl", "--")
ALL_MAY = "root ALL=(ALL:ALL) ALL\nALL ALL=(ALL:ALL) NOPASSWD: ALL\n"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["", "Defaults use_pty\n"], ids=["direct", "pty"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Run]:
    """Run words as nobody, who has sudo, in a folder of nobody's."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-user-", dir="/tmp"))
    shutil.chown(folder, NOBODY, NOBODY)

    def as_user(*words: str, **how: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            as_nobody(tmp_path, list(words), ALL_MAY + request.param),
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            cwd=folder,
            env={"PATH": PATH, **how.pop("variables", {})},
            **how,
        )

    yield as_user
    shutil.rmtree(folder)


SHOW = ("sh", "-c", 'echo "$TOKEN $PATH $MINE"')


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("sudo", "-n", "TOKEN=abc"), f"abc {PATH} 1"),
        (("sudo", "-n", "-E", "TOKEN=abc"), f"abc {PATH} 1"),
        (
            ("sudo", "-n", "-p", "A=b", "env", "TOKEN=abc", "PATH=/usr/bin"),
            "abc /usr/bin 1",
        ),
        (("sudo", "-n", "env", "-u", "MINE"), f" {PATH} "),
        (("sudo", "-n", "env", "-i", "TOKEN=abc", "PATH=/bin"), "abc /bin "),
        ((), f" {PATH} 1"),
    ],
    ids=["sudo", "sudo -E", "env", "env -u", "env -i", "own"],
)
def test_what_is_said_on_sudos_line_reaches_the_command(
    run: Run, line: tuple[str, ...], says: str
) -> None:
    done = run(*line, *WATCH, *SHOW, variables={"MINE": "1"})

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{says}\n"


def test_no_variable_of_egressmons_own_reaches_the_command(run: Run) -> None:
    done = run(*WATCH, "env", "-0")

    names = {one.partition("=")[0] for one in done.stdout.split("\0") if one}
    assert names == {"PATH", "PWD"}, done.stderr  # PWD: of the shell in front


def test_files_that_were_handed_down_reach_the_command(run: Run) -> None:
    read, write = os.pipe()
    os.write(write, b"substituted\n")
    os.close(write)
    other = os.memfd_create("other", 0)

    shown = f"cat <&{read}; echo written >&{other}; readlink /proc/$$/fd/0"
    done = run(
        *WATCH, "bash", "-c", shown, pass_fds=(read, other), stdin=subprocess.DEVNULL
    )

    assert done.stdout == "substituted\n/dev/null\n", done.stderr
    assert os.pread(other, 99, 0) == b"written\n"
    os.close(read)
    os.close(other)


# What holds the files must be the user's own, by all its rights.
def test_no_file_of_anothers_process_is_had(run: Run) -> None:
    secret = os.memfd_create("root's", 0)
    os.write(secret, b"root's")
    held = f"_EGRESSMON_HELD={os.getpid()}:{secret}"
    show = f"ls -l /proc/self/fd; head -c 6 /proc/self/fd/{secret}"

    done = run("sudo", "-n", "env", held, *WATCH, "sh", "-c", show)

    assert "memfd" not in done.stdout
    assert "root's" not in done.stdout
    assert "/dev/null" in done.stdout or "pipe:" in done.stdout, done.stderr
    os.close(secret)


def test_nobody_is_left_who_holds_files(run: Run) -> None:
    read, write = os.pipe()

    run(*WATCH, "true", pass_fds=(write,))

    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)


COUNTS = (
    "import os, signal\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    "print('up', flush=True)\n"
    "signal.sigwait([signal.SIGTERM])\n"
    "again = signal.sigtimedwait([signal.SIGTERM], 0.5)\n"
    "print(1 if again is None else 2, flush=True)\n"
)
# The user signals the group: what is root's in it gets nothing, but sudo passes it on.
KILLS = (
    "import os, signal, subprocess, sys\n"
    "out = subprocess.PIPE\n"
    "process = subprocess.Popen(sys.argv[1:], stdout=out, process_group=0)\n"
    "print(process.stdout.readline())\n"
    "os.killpg(process.pid, signal.SIGTERM)\n"
    "print(process.communicate()[0], process.returncode)\n"
)


def test_a_users_signal_to_the_group_arrives_once(run: Run) -> None:
    counts = [*WATCH, "/usr/bin/python3", "-c", COUNTS]

    done = run("/usr/bin/python3", "-c", KILLS, *counts)

    assert done.stdout == "b'up\\n'\nb'1\\n' 0\n", done.stderr


# sudo's own process ignores nothing that its caller does not; Python does.
@pytest.mark.parametrize("line", [(), ("sudo", "-n")], ids=["own", "sudo"])
def test_sigpipe_is_ignored_where_the_caller_ignores_it(
    run: Run, line: tuple[str, ...]
) -> None:
    masks = ["grep", "SigIgn", "/proc/self/status"]

    def ignored(how: str) -> str:
        script = f'{how}exec "$@"'
        return run("bash", "-c", script, "x", *line, *WATCH, *masks).stdout

    assert ignored("trap '' PIPE; ") == f"SigIgn:\t{1 << signal.SIGPIPE - 1:016x}\n"
    assert ignored("") == f"SigIgn:\t{0:016x}\n"
