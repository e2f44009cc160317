"""Around the run: signals, what the caller handed down, and what is missing there."""

import json
import os
import pty
import resource
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.watching import EGRESSMON, LIMIT_S, WATCH, Watched, read_evidence

pytestmark = pytest.mark.userspace

Watch = Callable[..., Watched]
PYTHON = sys.executable
LAUNCHER = str(Path(PYTHON).with_name("egressmon"))
SCRIPT = str(Path(__file__).parents[2] / "scripts/egressmon")


def start(
    folder: Path, *command: str, entry: tuple[str, ...] = WATCH
) -> "subprocess.Popen[str]":
    """Start a watched command in a process group of its own."""
    words = [*entry, "--evidence", str(folder / "e.jsonl"), "--", *command]
    return subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        process_group=0,
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: "subprocess.Popen[str]") -> tuple[str, str]:
    out, err = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in err
    return out, err


# How often it gets a signal: a second one would come well within the wait.
COUNTS = (
    "import os, signal, sys\n"
    "number = int(sys.argv[1])\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [number])\n"
    "if len(sys.argv) > 2: os.setsid()\n"
    "print('up', flush=True)\n"
    "signal.sigwait([number])\n"
    "again = signal.sigtimedwait([number], 0.5)\n"
    "print(1 if again is None else 2, flush=True)\n"
)
SENT = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]


@pytest.mark.parametrize("number", SENT, ids=lambda one: one.name)
def test_a_signal_to_the_group_arrives_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, PYTHON, "-c", COUNTS, str(int(number)))
    assert first_line(process) == "up"

    os.killpg(process.pid, number)

    assert finish(process)[0] == "1\n"
    assert process.returncode == 0


# timeout(1) signals its child, and then the group.
def test_a_signal_to_egressmon_and_its_group_arrives_once(tmp_path: Path) -> None:
    process = start(tmp_path, PYTHON, "-c", COUNTS, str(int(signal.SIGTERM)))
    assert first_line(process) == "up"

    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    process.send_signal(signal.SIGCONT)

    assert finish(process)[0] == "1\n"


def test_a_command_that_left_the_group_gets_what_egressmon_gets(
    tmp_path: Path,
) -> None:
    process = start(tmp_path, PYTHON, "-c", COUNTS, str(int(signal.SIGTERM)), "leave")
    assert first_line(process) == "up"

    process.terminate()

    assert finish(process)[0] == "1\n"


def witness_of(process: "subprocess.Popen[str]") -> int:
    """Return the pid of the process in the group that blocks all that can be."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return int(children.split()[-2])  # the agent is the last one


def test_without_the_witness_signals_are_still_passed_on(tmp_path: Path) -> None:
    process = start(tmp_path, PYTHON, "-c", COUNTS, str(int(signal.SIGTERM)))
    assert first_line(process) == "up"
    os.kill(witness_of(process), signal.SIGKILL)

    process.terminate()

    assert finish(process)[0] == "1\n"
    assert read_evidence(tmp_path / "e.jsonl")[-1]["verdict"] == "clean"


def test_a_witness_that_was_stopped_ends_with_the_run(tmp_path: Path) -> None:
    process = start(tmp_path, PYTHON, "-c", COUNTS, str(int(signal.SIGTERM)))
    assert first_line(process) == "up"
    witness = os.pidfd_open(witness_of(process))
    signal.pidfd_send_signal(witness, signal.SIGSTOP)

    process.terminate()
    finish(process)

    assert select.select([witness], [], [], 10)[0]
    os.close(witness)


def test_a_group_that_is_stopped_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, "sh", "-c", "echo $$; read x; exit 5")
    command = int(first_line(process))

    os.killpg(process.pid, signal.SIGTSTP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    while "\nState:\tT" not in Path(f"/proc/{command}/status").read_text():
        pass
    os.killpg(process.pid, signal.SIGCONT)
    finish(process)

    assert process.returncode == 5
    assert read_evidence(tmp_path / "e.jsonl")[-1]["verdict"] == "clean"


# A shell's loop ends if what it ran was ended by SIGINT, not if that exits with 130.
def test_egressmon_ends_by_sigint_as_the_command_did(tmp_path: Path) -> None:
    process = start(tmp_path, "sh", "-c", "kill -INT $$")

    finish(process)

    assert process.returncode == -signal.SIGINT
    assert read_evidence(tmp_path / "e.jsonl")[-1]["exit_status"] == 130


# The kernel tells the leader of the session alone, which is egressmon here.
def test_a_terminal_that_hangs_up_ends_the_command_alone(tmp_path: Path) -> None:
    leader, terminal = pty.openpty()
    words = [
        *WATCH,
        "--evidence",
        "e.jsonl",
        "--",
        "sh",
        "-c",
        "echo up; exec sleep 600",
    ]
    take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    process = subprocess.Popen(
        [PYTHON, "-c", take + "os.execv(sys.argv[1], sys.argv[1:])", *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""
    while b"up" not in seen:
        seen += os.read(leader, 4096)

    os.close(leader)

    assert process.wait(LIMIT_S) == 128 + signal.SIGHUP
    end = read_evidence(tmp_path / "e.jsonl")[-1]
    assert (end["verdict"], end["command_signal"]) == ("clean", signal.SIGHUP)


def is_there(_: "subprocess.Popen[str]") -> bool:
    return True


def is_python(process: "subprocess.Popen[str]") -> bool:
    words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    return words[1:3] == [b"-I", b"-m"]


def scopes(process: "subprocess.Popen[str]") -> list[str]:
    # Unlike glob, walk passes over what disappears meanwhile.
    every = [name for _, names, _ in os.walk(find_root()) for name in names]
    return [name for name in every if name.startswith(f"egressmon-{process.pid}-")]


def is_arming(process: "subprocess.Popen[str]") -> bool:
    return bool(scopes(process))


# From the first moment on: as the shell begins, as Python does, as the probes are
# attached. The signal is sent at once, in whatever moment that is.
@pytest.mark.parametrize(
    "moment", [is_there, is_python, is_arming], ids=["shell", "python", "arming"]
)
@pytest.mark.parametrize("_", range(5))
def test_an_interrupt_at_the_start_is_one_quiet_line(
    tmp_path: Path, moment: "Callable[[subprocess.Popen[str]], bool]", _: int
) -> None:
    process = start(tmp_path, "touch", "ran", entry=(LAUNCHER, "watch"))
    while not moment(process):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)

    out, err = finish(process)

    assert process.returncode == -signal.SIGINT
    assert out == ""
    assert len(err.splitlines()) <= 1, err
    if moment is is_arming:  # by whichever process is at work then
        assert err.startswith("egressmon: interrupted"), err
    assert not (tmp_path / "ran").exists()
    assert not scopes(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_arms_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, "touch", "ran")
    while not is_arming(process):
        assert process.poll() is None

    process.send_signal(number)

    assert finish(process)[1].count("\n") == 1
    assert process.returncode == -number
    assert not (tmp_path / "ran").exists()
    assert not scopes(process)


SIGNALS = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]


# By its shell: Python ignores signals of its own, and cannot tell any more.
@pytest.mark.parametrize("entry", [LAUNCHER, SCRIPT], ids=["launcher", "script"])
@pytest.mark.parametrize(
    "ignored", [(), (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)]
)
def test_the_command_ignores_and_blocks_what_the_caller_does(
    tmp_path: Path, entry: str, ignored: tuple[signal.Signals, ...]
) -> None:
    # Shells change what is blocked of SIGCHLD.
    setting = (
        "import os, signal, sys; every = signal.valid_signals() - {signal.SIGCHLD}\n"
        "for n in (signal.SIGPIPE, signal.SIGXFSZ): signal.signal(n, signal.SIG_DFL)\n"
        "for n in sys.argv[1].split(): signal.signal(int(n), signal.SIG_IGN)\n"
        "if sys.argv[1]: signal.pthread_sigmask(signal.SIG_BLOCK, every)\n"
        "os.execvp(sys.argv[2], sys.argv[2:])\n"
    )

    def state(*words: str) -> str:
        numbers = " ".join(str(int(one)) for one in ignored)
        done = subprocess.run(
            [PYTHON, "-c", setting, numbers, *words, *SIGNALS],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        return done.stdout

    assert state(entry, "watch", "--quiet", "--") == state()


def test_a_caller_that_ignores_sigchld_changes_nothing(tmp_path: Path) -> None:
    line = f"trap '' CHLD; {shlex.join([*WATCH, '--evidence', 'e', '--', *SIGNALS])}"

    done = subprocess.run(
        ["bash", "-c", line], check=False, capture_output=True, text=True, cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert f"SigIgn:\t{1 << (signal.SIGCHLD - 1):016x}" in done.stdout
    assert read_evidence(tmp_path / "e")[-1]["verdict"] == "clean"


# Entries that shells change, drop or reorder, and two of one name.
ODD = [
    "PATH=/usr/bin:/bin", "self=1", "python=2", "a.b=c", "BASH_FUNC_f%%=() { :; }",
    "A=1", "A=2", "noequals", "=odd", "_=/x", "root=1", "venv=2", "E=", "N=a\nb\n",
    "LC_ALL=C", "_EGRESSMON_NOTE=1", "_EGRESSMON_RESTORED=* 413d3100",
    "_EGRESSMON_SIGNALS=1:2", "_EGRESSMON_HELD=1:0,1,2",
]  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [(LAUNCHER,), (SCRIPT,), EGRESSMON],
    ids=["launcher", "script", "python"],
)
def test_the_command_gets_the_environment_byte_by_byte(
    tmp_path: Path, entry: tuple[str, ...]
) -> None:
    given = (
        "import json, os, sys; from egressmon.startup.environment import execve\n"
        "words = [os.fsencode(one) for one in sys.argv[2:]]\n"
        "block = [os.fsencode(one) for one in json.loads(sys.argv[1])] + [b'Z=\\xff']\n"
        "execve(words[0], words, tuple(block))\n"
    )
    command = ["/bin/cat", "/proc/self/environ"]

    def seen(*words: str) -> list[bytes]:
        done = subprocess.run(
            [PYTHON, "-c", given, json.dumps(ODD), *words, *command],
            check=True,
            capture_output=True,
            cwd=tmp_path,
        )
        return done.stdout.split(b"\0")

    assert seen(*entry, "watch", "--quiet", "--") == seen()


def test_a_removed_working_directory_is_none_of_a_policys(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    evidence = tmp_path / "e.jsonl"
    words = shlex.join(
        [*WATCH, "--evidence", str(evidence), "--", "sh", "-c", "exit 3"]
    )

    done = subprocess.run(
        ["sh", "-c", f"rmdir {gone}; exec {words}"],
        check=False,
        capture_output=True,
        text=True,
        cwd=gone,
    )

    assert done.returncode == 3, done.stderr
    assert read_evidence(evidence)[-1]["verdict"] == "clean"


LIMITED = {
    "-n": (resource.RLIMIT_NOFILE, 16),
    "-f": (resource.RLIMIT_FSIZE, 0),
    "-t": (resource.RLIMIT_CPU, 1),
}


@pytest.mark.parametrize("option", LIMITED)
def test_a_limit_of_the_callers_is_the_commands_alone(
    watched: Watch, option: str
) -> None:
    limit = LIMITED[option][1]
    through = ("sh", "-c", f'ulimit -S {option} {limit}; exec "$@"', "sh")

    run = watched(
        "sh", "-c", f"ulimit -S {option}; ulimit -H {option}", through=through
    )

    assert run.status == 0, run.stderr
    soft, hard = run.stdout.split()
    assert int(soft) == limit
    assert hard != soft
    assert run.end["verdict"] == "clean"


# Root may go beyond the hard limit, too, if it has CAP_SYS_RESOURCE.
def test_too_few_files_are_named(watched: Watch) -> None:
    through = ("prlimit", "--nofile=48:48", "setpriv", "--bounding-set=-sys_resource")

    run = watched("sh", "-c", "exit 3", through=through)

    assert run.status == 125
    assert run.stderr == (
        "error: egressmon may have 48 files open, and needs more\n"
        "hint: raise the limit: ulimit -n 256\n"
    )


def test_a_ready_file_that_cannot_be_made_is_no_defect(watched: Watch) -> None:
    run = watched("touch", "ran", options=["--ready-file", "/nowhere/at/all"])

    assert run.status == 125
    assert "--ready-file could not be made: No such file or directory" in run.stderr
    assert "defect" not in run.stderr


def test_the_canaries_of_an_inner_egressmon_are_named(
    watched: Watch, tmp_path: Path
) -> None:
    inner = [*WATCH, "--quiet", "--evidence", str(tmp_path / "inner"), "--", "true"]

    run = watched(*inner)

    count = run.end["connections"]["violation"]
    assert count > 0
    said = f"{count} violations go to addresses for documentation, which nobody has"
    assert said in run.stderr
    assert read_evidence(tmp_path / "inner")[-1]["verdict"] == "clean"


# A pipe that was handed down ends for its reader as the command closes it, and standard
# input for its writer.
def test_what_was_handed_down_is_not_kept_open(tmp_path: Path) -> None:
    read, write = os.pipe()
    wait, go_on = os.pipe()
    closes = f"exec {write}>&- 0<&-; read x <&{wait}; exit 4"
    process = subprocess.Popen(
        [*WATCH, "--quiet", "--evidence", "e", "--", "bash", "-c", closes],
        stdin=subprocess.PIPE,
        pass_fds=(write, wait),
        cwd=tmp_path,
    )
    assert process.stdin is not None
    os.close(write)
    os.close(wait)

    assert select.select([read], [], [], LIMIT_S)[0]
    assert os.read(read, 1) == b""
    poll = select.poll()
    poll.register(process.stdin, 0)
    assert poll.poll(LIMIT_S * 1000)[0][1] & select.POLLERR
    assert process.poll() is None

    os.write(go_on, b"\n")
    assert process.wait(LIMIT_S) == 4
    process.stdin.close()
    os.close(read)
    os.close(go_on)
