"""What reads the command's files has no rights, and nothing becomes root unseen."""

import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import rich

from egressmon.keeping.witness import Witness
from egressmon.privileges.privilege import User
from support.lab import HTTP_PORT, OTHER4, Lab
from support.users import NOBODY, as_nobody
from support.watching import (
    AGENT,
    EGRESSMON,
    LIMIT_S,
    WATCH,
    Watched,
    read_evidence,
    until_begun,
)

Watch = Callable[..., Watched]
PYTHON = sys.executable
ALL_MAY = "root ALL=(ALL:ALL) ALL\nALL ALL=(ALL:ALL) NOPASSWD: ALL\n"
FAIL = 'version = 1\nenforce = "fail"\n'
_KEPT = 1 << 1 | 1 << 5 | 1 << 7 | 1 << 19 | 1 << 39
_SYS_ADMIN = 1 << 21


# The status files of all threads of egressmon's own processes, by process.
STATUS = r"""
import json, os, pathlib
keeper = os.getppid()
children = pathlib.Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
own = [keeper, *(int(pid) for pid in children if int(pid) != os.getpid())]
print(json.dumps({
    pid: [one.read_text() for one in pathlib.Path(f"/proc/{pid}/task").glob("*/status")]
    for pid in own
}))
"""


def _field(status: str, name: str) -> list[str]:
    found = re.search(rf"^{name}:[ \t]*(.*)$", status, re.MULTILINE)
    assert found is not None
    return found[1].split()


def test_every_process_of_its_own_has_given_up_what_it_can(tmp_path: Path) -> None:
    run = _watch(tmp_path, PYTHON, "-c", STATUS)

    keeper, *attachers, witness, agent = json.loads(run.stdout).values()
    # Without Python frames there is nothing to attach.
    assert len(attachers) == (0 if "python-frames" in run.blind_spots else 1)
    rights = [(keeper, _KEPT), (witness, 0), (agent, 0)]
    rights += [(one, _SYS_ADMIN) for one in attachers]
    for threads, kept in rights:
        for status in threads:
            assert int(_field(status, "CapEff")[0], 16) == kept
            assert int(_field(status, "CapPrm")[0], 16) == kept
            for none in ("CapBnd", "CapInh", "CapAmb"):
                assert int(_field(status, none)[0], 16) == 0
            assert _field(status, "NoNewPrivs") == ["1"]
            assert _field(status, "Seccomp") == ["2"]
    others = [status for threads in (*attachers, witness, agent) for status in threads]
    uids = {uid for status in others for uid in _field(status, "Uid")}
    assert len(uids) == 2 + len(attachers)  # each its own, by all four ids
    assert all(61184 <= int(uid) <= 65519 for uid in uids)
    assert all(_field(status, "Groups") == [] for status in others)


# A child that confines itself as the agent does, and tries.
TRIES = r"""
import ctypes, json, os, signal, sys, threading
from egressmon.privileges import confinement
confinement.become_nobody(confinement.unused_uid())
libc = ctypes.CDLL(None, use_errno=True)
def tried(*call):
    ctypes.set_errno(0)
    return libc.syscall(*call), ctypes.get_errno()
def refused(function, *words):
    try:
        function(*words)
    except OSError as error:
        return error.errno
numbers = {"x86_64": (59, 322, 101, 321), "aarch64": (221, 281, 117, 280)}
execve, execveat, ptrace, bpf = numbers[os.uname().machine]
words = (ctypes.c_char_p * 2)(b"true", None)
done = []
thread = threading.Thread(target=done.append, args=(1,))
thread.start(); thread.join()
print(json.dumps({
    "execve": tried(execve, b"/bin/true", words, None)[1],
    "execveat": tried(execveat, -100, b"/bin/true", words, None, 0)[1],
    "ptrace": tried(ptrace, 16, os.getppid(), 0, 0)[1],
    "bpf": tried(bpf, 0, 0, 0)[1],
    "shadow": refused(os.open, "/etc/shadow", os.O_RDONLY),
    "memory": refused(os.open, "/proc/1/mem", os.O_RDONLY),
    "root": refused(os.setuid, 0),
    "signal": refused(os.kill, os.getppid(), 0),
    "bits": libc.prctl(27, 0, 0, 0, 0),
    "dumpable": libc.prctl(3, 0, 0, 0, 0),
    "threads": done,
}))
"""


def test_what_reads_can_execute_nothing_and_reach_nobody() -> None:
    done = subprocess.run(
        [PYTHON, "-c", TRIES], check=True, capture_output=True, text=True
    )

    found = json.loads(done.stdout)
    assert found.pop("bits") & 0b11000011 == 0b11000011  # NOROOT, no ambient; locked
    assert found.pop("dumpable") == 0
    assert found.pop("threads") == [1]
    assert found.pop("shadow") == errno.EACCES
    assert found.pop("memory") == errno.EACCES
    assert set(found.values()) == {errno.EPERM}, found


# By the numbers of 32-bit code, too: x32's, and int 0x80 with i386's.
OTHER_NUMBERS = {
    "x32": "libc.syscall(0x40000000 | 520, b'/bin/true', None, None)",
    "i386": (
        "room = mmap.mmap(-1, 4096, prot=7); "
        "room.write(bytes.fromhex('b80b000000cd80c3')); "
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(room)))()"
    ),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86-64 has three ABIs")
@pytest.mark.parametrize("code", OTHER_NUMBERS.values(), ids=OTHER_NUMBERS)
def test_another_abi_is_no_way_round_the_filter(code: str) -> None:
    script = (
        "import ctypes, mmap; from egressmon.privileges import confinement; "
        "confinement.become_nobody(confinement.unused_uid()); "
        f"libc = ctypes.CDLL(None); {code}; print('went on')"
    )

    done = subprocess.run(
        [PYTHON, "-c", script], check=False, capture_output=True, text=True
    )

    # A kernel without 32-bit emulation knows no int 0x80: SIGSEGV.
    assert -done.returncode in {signal.SIGSYS, signal.SIGSEGV}, done.stderr
    assert "went on" not in done.stdout


# In a process that is parted as a run is, the command's user being nobody.
PARTED = r"""
import json, os, signal, sys
from egressmon.sensor.canary import make_plan
from egressmon.files import Kind
from egressmon.keeping.setup import KeeperSetup
from egressmon.keeping.launch import launch
from egressmon.privileges.privilege import User
from egressmon.probes.loaders.loading import load
from egressmon.sensor.scope import make_scope
from egressmon.keeping.signals import SignalRelay
from egressmon.keeping.witness import Witness
from egressmon.keeping.split import split
user = User(65534, 65534, (65534,), {})
engine, scope = load("libbpf"), make_scope()
child = launch(scope, make_plan(), user, [b"true"], may_gain=False)
kept = split(KeeperSetup(engine=engine, scope=scope, child=child,
    relay=SignalRelay(child, Witness(user)), user=user, ready_file=None,
    allow_incomplete=False, close_agents_files=lambda: None, at_end=None), lambda: None)
def asked(function, *words):
    try:
        found = function(*words)
    except OSError as error:
        return error.errno
    return os.read(found, 9).decode() if isinstance(found, int) else found
folder = sys.argv[1].encode()
"""


def _parted(folder: Path, code: str) -> Any:
    done = subprocess.run(
        [PYTHON, "-c", PARTED + code, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return json.loads(done.stdout), done


@pytest.fixture
def hidden() -> Generator[Path]:
    """A folder that only nobody may enter, with a file in it."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-hidden-"))
    (folder / "file").write_text("nobody's")
    (folder / "roots").write_text("root's")
    (folder / "roots").chmod(0o600)
    (folder / "group").write_text("root's group's")
    (folder / "group").chmod(0o640)
    (folder / "link").symlink_to("/proc/self/mem")
    for one in (folder, folder / "file"):
        shutil.chown(one, NOBODY, NOBODY)
    folder.chmod(0o700)
    yield folder
    shutil.rmtree(folder)


OPENS = r"""
def opened(path, kind=Kind.REGULAR):
    return asked(kept.open, path, kind)
print(json.dumps({
    "directly": asked(os.open, folder + b"/file", 0),
    "file": opened(folder + b"/file"),
    "roots": opened(folder + b"/roots"),
    "group": opened(folder + b"/group"),
    "link": opened(folder + b"/link"),
    "shadow": opened(b"/etc/shadow"),
    "device": opened(b"/dev/null"),
    "memory": opened(b"/proc/%d/mem" % child.pid),
    "environment": opened(b"/proc/%d/environ" % child.pid),
    "below": opened(b"/proc/%d/root/proc/%d/mem" % (child.pid, child.pid)),
    "dots": opened(b"/proc/%d/../%d/mem" % (child.pid, child.pid)),
    "maps": opened(b"/proc/%d/maps" % child.pid),
}), flush=True)
"""


def test_the_keeper_opens_what_the_user_may_read_and_no_more(hidden: Path) -> None:
    found, _ = _parted(hidden, OPENS)

    assert found["directly"] == errno.EACCES
    assert found["file"] == "nobody's"
    assert len(found["maps"]) == 9
    assert found["device"] == errno.EINVAL
    files = (
        "roots",
        "group",
        "shadow",
        "memory",
        "environment",
        "link",
        "below",
        "dots",
    )
    for name in files:
        assert found[name] == errno.EACCES, name


MISFITS = r"""
from egressmon.keeping.protocol import Service
print(json.dumps([asked(kept._ask, *words) for words in (
    (Service.UPDATE, 2, b"x" * 33), (Service.UPDATE, 9, b""), (Service.DELETE, 2, b""),
    (Service.TOTALS, 0, b"\xff" * 8), (Service.SKIPPED, 9), (Service.REAP, 0),
    (Service.OPEN, 9, b"/"), (Service.OPEN, 0, b"etc"), (Service.OPEN, 0, b"/" * 5000),
    (0, 0), (77, 0),
)]), flush=True)
os._exit(3)
"""


def test_the_keeper_takes_no_request_that_does_not_fit(tmp_path: Path) -> None:
    found, done = _parted(tmp_path, MISFITS)

    assert set(found) == {errno.EINVAL}
    assert done.returncode == 3  # the agent's, and the child was abandoned


def test_a_child_that_is_ended_before_its_exec_is_reaped(tmp_path: Path) -> None:
    code = (
        "import select\n"
        "print(child.pid, flush=True)\n"
        "select.select([child.pidfd], [], [])\n"
        "print(json.dumps([asked(kept.go), kept.reap()]), flush=True)\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [PYTHON, "-c", PARTED + code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        os.kill(int(process.stdout.readline()), signal.SIGKILL)
        found = json.loads(process.stdout.readline())

    assert found == [errno.EPIPE, signal.SIGKILL]


def _watch(folder: Path, *command: str, options: tuple[str, ...] = ()) -> Watched:
    evidence = folder / "e.jsonl"
    done = subprocess.run(
        [*WATCH, "--evidence", str(evidence), *options, "--", *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=folder,
    )
    records = read_evidence(evidence) if evidence.exists() else []
    return Watched(done.returncode, done.stdout, done.stderr, records)


def _as_user(
    folder: Path, *words: str, policy: str = "", sudoers: str = ALL_MAY, **how: Any
) -> Watched:
    """What `sudo egressmon watch` makes of words, called by nobody."""
    own = Path(tempfile.mkdtemp(prefix="egressmon-user-", dir="/tmp"))
    shutil.chown(own, NOBODY, NOBODY)
    (own / "policy.toml").write_text(policy or "version = 1\n")
    prefix = how.get("prefix", [])
    called = ["sudo", "-n", *WATCH, "--evidence", "e", "--policy", "policy.toml", "--"]
    try:
        done = subprocess.run(
            [*prefix, *as_nobody(folder, [*called, *words], sudoers)],
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            cwd=own,
        )
        return Watched(
            done.returncode, done.stdout, done.stderr, read_evidence(own / "e")
        )
    finally:
        shutil.rmtree(own)


BECOME = ("sh", "-c", "sudo -n id -u; grep NoNewPrivs /proc/self/status")


def test_a_command_that_may_become_root_is_a_declared_blind_spot(
    tmp_path: Path,
) -> None:
    run = _as_user(tmp_path, *BECOME)

    assert run.stdout.split() == ["0", "NoNewPrivs:", "0"]
    assert "command-can-sudo" in run.blind_spots
    assert "root-command" not in run.blind_spots
    assert "command-can-sudo" in run.stderr


def test_under_fail_the_command_gains_no_rights_and_is_told_the_cure(
    tmp_path: Path,
) -> None:
    run = _as_user(tmp_path, *BECOME, policy=FAIL)

    assert run.stdout.split() == ["NoNewPrivs:", "1"]
    assert "command-can-sudo" not in run.blind_spots
    assert "[command] allow_sudo = true" in run.stderr
    assert run.end["verdict"] == "clean"


def test_the_reviewed_policy_can_allow_it(tmp_path: Path) -> None:
    policy = FAIL + "[command]\nallow_sudo = true\n"

    run = _as_user(tmp_path, *BECOME, policy=policy)

    assert run.stdout.split() == ["0", "NoNewPrivs:", "0"]
    assert "command-can-sudo" in run.blind_spots
    assert "allow_sudo" not in run.stderr


# Under report nothing is withheld: a failing sudo has other reasons.
def test_no_cure_is_named_for_what_was_not_withheld(tmp_path: Path) -> None:
    run = _as_user(tmp_path, "sudo", "-n", "false")

    assert run.status == 1
    assert "allow_sudo" not in run.stderr


@pytest.mark.parametrize(
    ("sudoers", "can"),
    [
        (ALL_MAY, True),
        ("root ALL=(ALL:ALL) ALL\n", False),
        ("nobody ALL=(root) /usr/bin/apt\n", True),
        ("%daemon ALL=(ALL) ALL\n", False),
    ],
)
def test_who_may_use_sudo_is_asked_of_sudo_itself(
    tmp_path: Path, *, sudoers: str, can: bool
) -> None:
    (tmp_path / "sudoers").write_text(sudoers)
    (tmp_path / "sudoers").chmod(0o440)
    code = (
        "from egressmon.sensor.escalation import SudoQuery\n"
        "from egressmon.privileges.privilege import User\n"
        "print(SudoQuery(User(65534, 65534, (), {})).reason())\n"
    )
    script = f'mount --bind {tmp_path}/sudoers /etc/sudoers && exec "$@"'

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", PYTHON, "-c", code],
        check=True,
        capture_output=True,
        text=True,
    )

    assert ("sudo lets user 65534" in done.stdout) is can, done.stdout
    assert (done.stdout == "None\n") is not can


def test_where_nothing_gains_rights_nobody_can_sudo(tmp_path: Path) -> None:
    code = (
        "from egressmon.sensor.escalation import SudoQuery\n"
        "from egressmon.privileges.privilege import User\n"
        "print(SudoQuery(User(65534, 65534, (), {})).reason())\n"
    )
    (tmp_path / "sudoers").write_text(ALL_MAY)
    (tmp_path / "sudoers").chmod(0o440)
    script = f'mount --bind {tmp_path}/sudoers /etc/sudoers && exec "$@"'
    words = ["setpriv", "--no-new-privs", PYTHON, "-c", code]

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *words],
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "None\n"


def test_what_sudo_starts_is_watched_like_all_else(
    network: Lab, tmp_path: Path
) -> None:
    url = f"http://{OTHER4}:{HTTP_PORT}/"

    run = _as_user(tmp_path, "sudo", "-n", "curl", "-sS", url, prefix=network.enter())

    (made,) = run.of("connection")
    assert made["dst"]["ip"] == OTHER4
    assert made["process"]["uid"] == 0
    assert made["verdict"] == "violation"


def test_a_command_that_runs_as_root_is_one_and_the_summary_says_so(
    tmp_path: Path,
) -> None:
    run = _watch(tmp_path, "true")

    (spot,) = [
        one
        for one in run.of("run.start")[0]["blind_spots"]
        if one["name"] == "root-command"
    ]
    assert spot["reason"] == "the command runs as root (uid 0)"
    assert "  the command runs as root (uid 0): " in run.stderr


def test_root_by_way_of_a_shell_that_sudo_started_is_told_of(tmp_path: Path) -> None:
    watch = " ".join([*WATCH, "--evidence", f"{tmp_path}/e", "--", "id", "-u"])

    done = subprocess.run(
        as_nobody(tmp_path, ["sudo", "-n", "sh", "-c", f"{watch}; true"], ALL_MAY),
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert done.stdout == "0\n"
    assert "sudo, called by nobody, started a program that started" in done.stderr


# sudo's front process is its caller's, who may end it: as soon as egressmon is there.
ENDS_SUDO = r"""
import os, subprocess, sys
from pathlib import Path
process = subprocess.Popen(sys.argv[1:])
def below(pid):
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield child
        yield from below(child)
def is_it(pid):
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"egressmon" in words and not words[0].endswith((b"sudo", b"env"))
while process.poll() is None and not any(map(is_it, below(process.pid))):
    pass
process.kill()
print("ended", process.wait() == -9)
"""
WHO = ("sh", "-c", "echo uid $(id -u)")
DIRECT = ALL_MAY + "Defaults !pam_session, !pam_setcred, !use_pty\n"


@pytest.mark.parametrize("sudoers", [ALL_MAY, ALL_MAY + "Defaults use_pty\n"])
@pytest.mark.parametrize("called", [("sudo", "-n"), ()], ids=["sudo", "itself"])
def test_ending_sudo_makes_no_command_root(
    tmp_path: Path, called: tuple[str, ...], sudoers: str
) -> None:
    words = [*called, *WATCH, "--evidence", "/dev/null", "--", *WHO]

    done = _by_nobody(tmp_path, [PYTHON, "-c", ENDS_SUDO, *words], sudoers)

    assert "ended True" in done.stdout, done.stderr
    assert "uid 0" not in done.stdout


@pytest.mark.parametrize("called", [("sudo", "-n"), ()], ids=["sudo", "itself"])
def test_a_sudo_that_becomes_egressmon_makes_no_command_root(
    tmp_path: Path, called: tuple[str, ...]
) -> None:
    words = [*called, *WATCH, "--evidence", "/dev/null", "--", *WHO]

    done = _by_nobody(tmp_path, words, DIRECT)

    if called:
        assert done.stdout == f"uid {NOBODY}\n", done.stderr
    else:
        assert done.stdout == ""
        assert done.returncode == 125
        assert "error: sudo, which called, is gone" in done.stderr


def test_a_sudo_that_the_command_ended_is_a_doubt(tmp_path: Path) -> None:
    run = _as_user(
        tmp_path,
        "sh",
        "-c",
        "kill -KILL $(cut -d' ' -f4 /proc/$PPID/stat); id -u",
    )

    assert run.status == -signal.SIGKILL
    assert run.stdout == f"{NOBODY}\n"
    assert run.end["incomplete_reasons"] == [
        "sudo, which called, was ended: its status is not this run's"
    ]


# sudo's PAM modules set limits, and sudo itself that of core files.
def test_the_command_has_its_callers_limits_through_sudo(tmp_path: Path) -> None:
    limits = "ulimit -S -t 50; ulimit -S -s 4096; ulimit -S -f 5000"
    words = ["sh", "-c", f'{limits}; exec "$@"', "sh", *WATCH, "--quiet"]
    command = ["sh", "-c", "ulimit -S -t; ulimit -S -s; ulimit -S -f"]

    done = _by_nobody(
        tmp_path, [*words, "--evidence", "/dev/null", "--", *command], ALL_MAY
    )

    assert done.stdout.split() == ["50", "4096", "5000"], done.stderr


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"SUDO_UID": "1000", "SUDO_GID": "1000"}, "and SUDO_COMMAND is not"),
        ({"SUDO_UID": "1000", "SUDO_COMMAND": "/x/egressmon"}, "SUDO_GID"),
        ({"SUDO_UID": "x", "SUDO_GID": "0", "SUDO_COMMAND": "egressmon"}, "SUDO_UID"),
        ({"_EGRESSMON_HOP": "1"}, "SUDO_UID"),
    ],
)
def test_what_cannot_be_told_is_refused(
    tmp_path: Path, said: dict[str, str], why: str
) -> None:
    done = subprocess.run(
        [*WATCH, "--evidence", "/dev/null", "--", "touch", "ran"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **said},
    )

    assert done.returncode == 125
    assert done.stderr.startswith("error: it cannot be told who called: ")
    assert why in done.stderr
    assert not (tmp_path / "ran").exists()


# A note of what a launcher changed, which a caller can forge where sudo keeps it.
def test_no_note_takes_back_what_sudo_said(tmp_path: Path) -> None:
    note = "SUDO_UID,SUDO_GID,SUDO_COMMAND " + b"SUDO_UID=0\0".hex()
    sudoers = ALL_MAY + "Defaults env_keep += _EGRESSMON_RESTORED\n"
    words = ["env", f"_EGRESSMON_RESTORED={note}", "sudo", "-n", *WATCH]

    done = _by_nobody(
        tmp_path, [*words, "--evidence", "/dev/null", "--", *WHO], sudoers
    )

    assert done.stdout == f"uid {NOBODY}\n", done.stderr


def _by_nobody(
    folder: Path, words: list[str], sudoers: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        as_nobody(folder, words, sudoers),
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd="/",
    )


# A private installation: what is imported late could not be read late.
HIDES = """
set -e
mkdir -m 700 hidden; cd hidden
for name in packages monitor policy probes; do mkdir $name; done
mount --bind "$1" packages
for name in monitor policy probes; do mount --bind "$2/$name" $name; done
exec "$3" -S -c 'import sys; sys.path += sys.argv.pop(1).split(":")
from egressmon.cli.main import main; sys.exit(main())' \\
    "$PWD/packages:$PWD/monitor:$PWD/policy:$PWD/probes" watch --evidence ../e -- \\
    "$3" -c "import socket; socket.create_connection(('127.0.0.1', $4))"
"""


def test_an_installation_that_only_root_may_read_works(tmp_path: Path) -> None:
    packages = str(Path(rich.__file__).parents[1])
    root = str(Path(__file__).parents[3])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = subprocess.run(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                HIDES,
                "sh",
                packages,
                root,
                PYTHON,
                port,
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            cwd=tmp_path,
        )

    assert done.returncode == 0, done.stderr
    (made,) = (
        one for one in read_evidence(tmp_path / "e") if one["type"] == "connection"
    )
    assert "outside the scope" in made["reason"]  # which sock_diag is asked
    assert "violations" in done.stderr  # which rich prints


COMMAND = (
    "import sys\n"
    "print('up', flush=True)\n"
    "sys.stdin.readline()\n"
    "open('done', 'w').write('as ever')\n"
    "sys.exit(7)\n"
)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


@pytest.mark.parametrize(
    ("options", "status"), [((), 121), (("--allow-incomplete",), 7)]
)
def test_without_its_reader_the_run_is_incomplete_and_the_command_goes_on(
    tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    words = [*WATCH, "--evidence", "e.jsonl", *options, "--", PYTHON, "-c", COMMAND]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        until_begun(tmp_path / "e.jsonl")
        os.kill(_children(process.pid)[-1], signal.SIGKILL)
        _, told = process.communicate("go on\n", timeout=LIMIT_S)

    assert (tmp_path / "done").read_text() == "as ever"
    assert process.returncode == status
    assert "incomplete: its reading process was ended by signal 9" in told
    records = read_evidence(tmp_path / "e.jsonl")
    assert records[0]["type"] == "run.start"
    assert "run.end" not in {one["type"] for one in records}
    assert not Path(records[0]["scope"]).exists()


def test_the_reader_ends_with_the_keeper(tmp_path: Path) -> None:
    words = [*WATCH, "--evidence", "e.jsonl", "--", PYTHON, "-c", COMMAND]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        ends = [os.pidfd_open(pid) for pid in _children(process.pid)]
        process.kill()
        process.communicate("go on\n", timeout=LIMIT_S)

    for end in ends:  # what attaches, the command, the reader
        assert select.select([end], [], [], LIMIT_S)[0]
        os.close(end)
    assert (tmp_path / "done").exists()
    types = {one["type"] for one in read_evidence(tmp_path / "e.jsonl")}
    assert "run.end" not in types


def test_moved_into_the_scope_it_still_ends_and_says_so(tmp_path: Path) -> None:
    script = (
        f"{AGENT}; own=/sys/fs/cgroup/$(sed -n 's/^0:://p' /proc/self/cgroup); "
        "root=$(findmnt -n -t cgroup2 -o TARGET | head -n 1); "
        "own=$root$(sed -n 's/^0:://p' /proc/self/cgroup)/cgroup.procs; "
        "echo $agent >$own && echo $PPID >$own"
    )

    run = _watch(tmp_path, "sh", "-c", script)

    assert run.status == 121, run.stderr
    assert run.end["outlived"] == []
    (doubt,) = run.end["incomplete_reasons"]
    assert doubt == "egressmon's own processes were moved into the scope"


# execve(2) takes any block of bytes; os.execve() does not.
EXECUTES = r"""
import ctypes, sys
entries = [bytes.fromhex(one) for one in sys.argv[1].split(",")]
words = [one.encode() for one in sys.argv[2:]]
array = lambda items: (ctypes.c_char_p * (len(items) + 1))(*items, None)
ctypes.CDLL(None).execve(words[0], array(words), array(entries))
"""


def test_the_environment_is_handed_on_as_it_is(tmp_path: Path) -> None:
    block = [
        b"PATH=/usr/sbin:/usr/bin:/sbin:/bin", b"=oops", b"TWICE=1", b"no equals sign",
        b"", b"TWICE=2", b"BYTES=\xff\n\x01", b"LC_ALL=",
    ]  # fmt: skip
    coded = ",".join(entry.hex() for entry in block)
    words = [
        *WATCH,
        "--quiet",
        "--evidence",
        "e",
        "--",
        "/bin/cat",
        "/proc/self/environ",
    ]

    done = subprocess.run(
        [PYTHON, "-c", EXECUTES, coded, *words],
        check=False,
        capture_output=True,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == b"".join(entry + b"\0" for entry in block)


def test_a_pipe_that_nobody_reads_does_not_hang_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    done = subprocess.run(
        [*WATCH, "--evidence", "pipe", "--", "echo", "ran"],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=tmp_path,
    )

    assert done.stdout == "ran\n"
    assert done.returncode == 121
    assert "nobody reads this pipe" in done.stderr


def test_a_pipe_with_a_reader_takes_the_evidence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(
        ["cat", "pipe"], stdout=subprocess.PIPE, cwd=tmp_path
    ) as reader:
        done = subprocess.run(
            [*WATCH, "--quiet", "--evidence", "pipe", "--", "true"],
            check=False,
            timeout=LIMIT_S,
            cwd=tmp_path,
        )
        text, _ = reader.communicate(timeout=LIMIT_S)

    assert done.returncode == 0
    assert json.loads(text.splitlines()[-1])["verdict"] == "clean"


def test_the_ready_file_is_made_with_the_users_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    ready = tmp_path / "ready"
    words = ["sudo", "-n", *WATCH, "--ready-file", str(ready), "--", "true"]

    done = subprocess.run(
        as_nobody(tmp_path, words, ALL_MAY),
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
    )

    assert done.returncode == 125, done.stderr
    assert not ready.exists()


@pytest.mark.parametrize("swapped", [False, True])
def test_an_empty_policy_is_removed_and_nothing_else_in_its_place(
    tmp_path: Path, *, swapped: bool
) -> None:
    other = tmp_path / "other"
    other.write_text("")
    words = [*EGRESSMON, "learn", "--output", "new.toml", "--", PYTHON, "-c", COMMAND]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        if swapped:
            other.replace(tmp_path / "new.toml")
        os.kill(_children(process.pid)[-1], signal.SIGKILL)
        process.communicate("go on\n", timeout=LIMIT_S)

    assert process.returncode == 121
    assert (tmp_path / "new.toml").exists() is swapped


# Its answer to an earlier question would be taken for one to the next.
def test_a_witness_that_answered_late_is_not_asked_again() -> None:
    witness = Witness(User(65534, 65534, (65534,), {}))
    try:
        os.kill(witness.pid, signal.SIGSTOP)
        assert witness.seen() is None
        os.kill(witness.pid, signal.SIGCONT)
        assert witness.seen() is None
    finally:
        witness.close()
        os.waitpid(witness.pid, 0)
