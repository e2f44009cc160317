"""The command runs as it would have run without us, and ends when it ends."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.lab import HTTP_PORT, OTHER4, Lab
from support.watching import LIMIT_S, WATCH, Watched, read_evidence, until_begun

Watch = Callable[..., Watched]
PYTHON = sys.executable


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("false",), 1),
        (("sh", "-c", "exit 42"), 42),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
        (("sh", "-c", "kill -KILL $$"), 128 + signal.SIGKILL),
        (("egressmon-test-no-such-command",), 127),
        (("/nowhere/at/all",), 127),
        (("/proc/version",), 126),
        (("/",), 126),
    ],
)
def test_the_status_is_the_commands_own(
    watched: Watch, command: tuple[str, ...], status: int
) -> None:
    run = watched(*command)

    assert run.status == status, run.stderr
    ran = status not in {126, 127}
    assert run.end["verdict"] == ("clean" if ran else "incomplete")
    assert run.end["exit_status"] == status


def test_a_missing_command_is_named(watched: Watch) -> None:
    run = watched("egressmon-test-no-such-command")

    assert "not run: egressmon-test-no-such-command was not found" in run.stderr


STATE = """
import json, os, resource, signal, sys
print(json.dumps({
    "cwd": os.getcwd(), "umask": os.umask(0), "environment": dict(os.environ),
    "same_group": os.getpgid(0), "session": os.getsid(0),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "ignored": [n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN],
    "fds": sorted(int(n) for n in os.listdir("/proc/self/fd")), "nice": os.nice(0),
    "stdin": sys.stdin.read(), "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
}))
"""


def test_the_command_inherits_everything(tmp_path: Path) -> None:
    def state(*prefix: str) -> dict[str, object]:
        done = subprocess.run(
            [*prefix, PYTHON, "-c", STATE],
            input="from the terminal",
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "EGRESSMON_TEST": "a\nb"},
            umask=0o027,
            process_group=0,
        )
        found: dict[str, object] = json.loads(done.stdout)
        # Each run has a group of its own here; inside it, the leader's.
        found["same_group"] = found["same_group"] != found["session"]
        return found

    unwatched = state()
    watched_state = state(*WATCH, "--quiet", "--")

    assert watched_state == unwatched
    assert unwatched["stdin"] == "from the terminal"
    assert unwatched["umask"] == 0o027


# Start a watched program that says "up" when it runs; returns the process.
def start(folder: Path, code: str, *options: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [
            *WATCH,
            "--evidence",
            str(folder / "e.jsonl"),
            *options,
            "--",
            PYTHON,
            "-c",
            code,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        process_group=0,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


# No handler: one that runs while "up" is being written may not write itself.
WAITS = (
    "import signal, sys\n"
    "numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, numbers)\n"
    "print('up', flush=True)\n"
    "print('got', int(signal.sigwait(numbers)), flush=True)\n"
    "sys.exit(7)\n"
)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1]
)
def test_a_signal_to_egressmon_reaches_the_command(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, WAITS)

    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT_S)

    assert out == f"got {number.value}\n"
    assert process.returncode == 7, err
    assert read_evidence(tmp_path / "e.jsonl")[-1]["verdict"] == "clean"


def test_a_key_press_reaches_the_command_once(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda n, f: seen.append(n))\n"
        "print('up', flush=True)\n"
        "while not seen: signal.pause()\n"
        # A second delivery would interrupt this wait.
        "print(len(seen), signal.sigtimedwait([signal.SIGINT], 0.5) if not "
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) else 0)\n"
        "print('seen', len(seen), flush=True)\n"
    )
    leader, terminal = os.openpty()
    # `script`-like: a session whose controlling terminal is ours.
    process = subprocess.Popen(
        [
            *WATCH,
            "--evidence",
            str(tmp_path / "e.jsonl"),
            "--quiet",
            "--",
            PYTHON,
            "-c",
            code,
        ],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 -- this process has one thread
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    os.write(leader, b"\x03")
    out, _ = process.communicate(timeout=LIMIT_S)
    os.close(leader)
    os.close(terminal)

    assert out.splitlines()[-1] == "seen 1"
    assert process.returncode == 0


# Make standard input the controlling terminal of the new session (tty_ioctl(4)).
def _take_terminal() -> None:
    import fcntl  # noqa: PLC0415 -- in the child
    import termios  # noqa: PLC0415 -- in the child

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_linger_0s_ends_with_the_command_and_names_who_outlived_it(
    watched: Watch,
) -> None:
    # Popen returns before the kernel is done with the exec: so it is heard from. It has
    # both ends of its input, and waits for more.
    code = (
        "import os, subprocess\n"
        "read, write = os.pipe()\n"
        "p = subprocess.Popen(['cat'], start_new_session=True, stdin=read,\n"
        "    pass_fds=[write], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "os.write(write, b'up\\n'); p.stdout.readline(); print(p.pid)\n"
    )

    run = watched(PYTHON, "-c", code, options=["--linger", "0s"])
    os.kill(int(run.stdout), signal.SIGKILL)

    assert run.end["outlived"] == [{"pid": int(run.stdout), "comm": "cat"}]
    assert "cat" in run.stderr
    assert run.status == 0


LEAVES = (
    "import subprocess\n"
    "p = subprocess.Popen(['sleep', '600'], start_new_session=True,\n"
    "    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    "open('pid', 'w').write(str(p.pid)); print('up', flush=True)\n"
)


def test_a_linger_with_a_bound_ends_by_itself(tmp_path: Path) -> None:
    process = start(tmp_path, LEAVES, "--linger", "300ms")

    process.communicate(timeout=LIMIT_S)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    assert process.returncode == 0
    (outlived,) = read_evidence(tmp_path / "e.jsonl")[-1]["outlived"]
    assert outlived["comm"] == "sleep"


def test_a_signal_ends_the_wait_for_what_was_left(tmp_path: Path) -> None:
    process = start(tmp_path, LEAVES)
    assert process.stderr is not None
    assert "waiting for what it left running (sleep)" in process.stderr.readline()

    process.terminate()
    process.communicate(timeout=LIMIT_S)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    assert process.returncode == 121
    end = read_evidence(tmp_path / "e.jsonl")[-1]
    assert end["outlived"]
    assert "a signal ended the run while processes ran on" in end["incomplete_reasons"]


# A process that leaves the cgroup stays of the command's lineage, and is waited for.
@pytest.mark.smoke
def test_a_process_that_leaves_the_cgroup_is_still_seen(watched: Watch) -> None:
    root = find_root()
    code = (
        "import pathlib, socket\n"
        f"pathlib.Path('{root}/cgroup.procs').write_text('0')\n"
        "s = socket.socket(); s.settimeout(5)\n"
        f"s.connect_ex(('{OTHER4}', {HTTP_PORT}))\n"
    )

    run = watched(PYTHON, "-c", code)

    (connection,) = run.of("connection")
    assert connection["socket"] == "foreign"
    assert connection["dst"]["ip"] == OTHER4


def test_killing_the_agent_leaves_the_command_alone(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "print('up', flush=True)\n"
        "sys.stdin.readline()\n"
        "open('done', 'w').write('as ever')\n"
    )
    read, write = os.pipe()
    process = subprocess.Popen(
        [
            *WATCH,
            "--evidence",
            str(tmp_path / "e.jsonl"),
            "--",
            PYTHON,
            "-c",
            code,
        ],
        stdin=read,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    records = until_begun(tmp_path / "e.jsonl")  # readable while the run goes on
    assert records[0]["type"] == "run.start"
    scope = Path(records[0]["scope"])
    (pid,) = map(int, (scope / "cgroup.procs").read_text().split())
    pidfd = os.pidfd_open(pid)

    process.kill()
    process.wait()
    os.write(write, b"go on\n")
    wait_for(pidfd)

    assert (tmp_path / "done").read_text() == "as ever"
    assert scope.exists()
    subprocess.run([*WATCH, "--quiet", "--", "true"], check=True)
    assert not scope.exists()
    process.stdout.close()


def wait_for(pidfd: int) -> None:
    """Wait for the process behind pidfd, which is nobody's child any more."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(60_000)
    os.close(pidfd)


def test_nothing_is_left_behind(watched: Watch) -> None:
    run = watched("true")

    scope = Path(run.of("run.start")[0]["scope"])
    assert not scope.exists()
    # Others may have scopes of their own at the same time.
    assert not list(find_root().glob(f"**/{scope.name}*"))


def test_two_runs_at_once_do_not_see_each_other(network: Lab, tmp_path: Path) -> None:
    results: dict[str, list[dict[str, object]]] = {}

    def one(name: str, ip: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run(
            [
                *network.enter(),
                *WATCH,
                "--evidence",
                str(folder / "e"),
                "--",
                "curl",
                "-sS",
                f"http://{ip}/",
            ],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        results[name] = read_evidence(folder / "e")

    threads = [
        threading.Thread(target=one, args=("a", OTHER4)),
        threading.Thread(target=one, args=("b", "10.213.7.2")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for name, ip in (("a", OTHER4), ("b", "10.213.7.2")):
        made = [one for one in results[name] if one["type"] == "connection"]
        assert [one["dst"]["ip"] for one in made] == [ip]  # type: ignore[index]
