"""Readers that take nothing, of standard error or of the evidence, hold no run up."""

import fcntl
import os
import pty
import subprocess
import termios
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from support.watching import LIMIT_S, WATCH

pytestmark = pytest.mark.userspace


def full_pipe() -> tuple[int, int]:
    """Return the two ends of a pipe in which there is no room."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.write(write, bytes(4096))
    return read, write


def stopped_terminal() -> tuple[int, int]:
    """Return the leader and a terminal to which nothing can be written (Ctrl-S)."""
    leader, terminal = pty.openpty()
    tty.setraw(terminal)
    termios.tcflow(terminal, termios.TCOOFF)
    return leader, terminal


@pytest.mark.parametrize("made", [full_pipe, stopped_terminal])
def test_what_nobody_reads_of_us_does_not_hold_the_command_up(
    tmp_path: Path, made: Callable[[], tuple[int, int]]
) -> None:
    ours, theirs = made()
    process = subprocess.Popen(
        [*WATCH, "--evidence", "e.jsonl", "--", "sh", "-c", "exit 3"],
        stderr=theirs,
        cwd=tmp_path,
    )
    os.close(theirs)

    assert process.wait(LIMIT_S) == 3
    os.close(ours)


def test_a_reader_of_the_evidence_that_never_reads_does_not_hold_the_start_up(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    options = ["--catch-up", "1s", "--evidence", "fifo"]

    done = subprocess.run(
        [*WATCH, *options, "--", "echo", "ran"],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=tmp_path,
    )

    assert (done.stdout, done.returncode) == ("ran\n", 121)
    assert "its reader takes nothing" in done.stderr
    os.close(reader)


# What it left running is waited for no longer: by an option, or because of a signal.
@pytest.mark.parametrize("options", [["--linger", "0s"], []], ids=["linger", "signal"])
def test_a_reader_of_the_evidence_that_stopped_does_not_hold_the_end_up(
    tmp_path: Path, options: list[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    left, wait = os.pipe()
    script = "for i in $(seq 150); do /bin/true; done; read x <&$0 & echo up; exit 3"
    process = subprocess.Popen(
        [
            *WATCH,
            *options,
            "--catch-up",
            "1s",
            "--evidence",
            "fifo",
            "--",
            "sh",
            "-c",
            script,
            str(left),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(left,),
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    if not options:
        process.terminate()

    assert process.wait(LIMIT_S) == 121
    assert "its reader takes nothing" in process.communicate()[1]
    os.close(wait)
    os.close(left)
    os.close(reader)
