"""`egressmon sidecar`: what was there before, what comes later, and who may end it."""

import ctypes
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from support.lab import Lab
from support.sidecars import Sidecar, cgroup, inside, sidecar
from support.users import NOBODY
from support.watching import EGRESSMON, WATCH

FAIL = 'enforce = "fail"\n'
# Waits for a line, connects, and waits again: what there was before the sidecar.
OLDER = (
    "import socket, sys\n"
    "for line in sys.stdin:\n"
    "    s = socket.socket(); s.settimeout(2)\n"
    "    try: s.connect(('10.213.7.2', int(line)))\n"
    "    except OSError: pass\n"
    "    print('done', flush=True)\n"
)
CONNECT = "import socket; socket.socket().connect_ex(('10.213.7.2', {}))"


@pytest.fixture
def watched() -> Generator[Path]:
    """A cgroup that is there before the sidecar."""
    with cgroup() as path:
        yield path


@pytest.fixture
def aside() -> Generator[Sidecar]:
    """A sidecar whose policy allows nothing, and fails."""
    with sidecar(FAIL) as one:
        yield one


def begin(one: Sidecar, *options: str) -> None:
    """Start it with the test's policy."""
    policy = ["--policy", str(one.folder / "egress.toml")]
    done = one.start(*options, *policy)
    assert done.returncode == 0, done.stderr


def connect(lab: Lab, cgroup: Path, port: int) -> int:
    """Connect from `cgroup`, in the test's network; return the pid."""
    words = inside(cgroup, sys.executable, "-I", "-c", CONNECT.format(port))
    process = subprocess.Popen([*lab.enter(), *words])
    process.wait()
    return process.pid


@pytest.mark.smoke
def test_a_cgroup_is_watched_from_before_to_after(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    nested = watched / "inner"
    nested.mkdir()
    command = inside(nested, sys.executable, "-I", "-c", OLDER)
    older = subprocess.Popen(
        [*network.enter(), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert older.stdin is not None
    assert older.stdout is not None
    print(4040, file=older.stdin, flush=True)  # Python itself has begun
    older.stdout.readline()

    begin(aside, "--cgroup", str(watched))
    print(4041, file=older.stdin, flush=True)
    older.stdout.readline()
    connect(network, watched, 4042)
    later = watched / "later"
    later.mkdir()
    connect(network, later, 4043)
    outside = subprocess.run(
        [*network.enter(), sys.executable, "-I", "-c", CONNECT.format(4044)],
        check=False,
    )
    status, answer = aside.stop()

    assert older.poll() is None  # nothing is ended with the sidecar
    older.communicate()
    assert outside.returncode == 0
    assert (status, answer["verdict"], answer["concluded"]) == (120, "violations", True)
    assert answer["incomplete_reasons"] == []
    made = {
        one["dst"]["port"]: one
        for one in aside.verified()
        if one["type"] == "connection"
    }
    assert set(made) == {4041, 4042, 4043}
    actor = made[4041]["process"]
    assert actor["exe"] == os.path.realpath(sys.executable)
    assert actor["argv"][1:3] == ["-I", "-c"]
    assert {one["dst"]["ip"] for one in made.values()} == {"10.213.7.2"}
    assert made[4043]["process"]["exe"] == os.path.realpath(sys.executable)


def test_the_machine_is_watched_wherever_something_runs(
    network: Lab, aside: Sidecar
) -> None:
    begin(aside, "--all")
    with cgroup() as made_later:
        connect(network, made_later, 4051)
    subprocess.run(
        [*network.enter(), sys.executable, "-I", "-c", CONNECT.format(4052)],
        check=True,
    )
    status, answer = aside.stop()

    assert status in {120, 121}  # others run on this machine, too
    assert answer["concluded"]
    for port in (4051, 4052):
        (one,) = aside.reached(port=port, ip="10.213.7.2")
        assert one["verdict"] == "violation"
        assert one["process"]["exe"] == os.path.realpath(sys.executable)
    own = {aside.keeper, os.getpid()}
    made = [one for one in aside.verified() if one["type"] == "connection"]
    assert not own & {one["process"]["pid"] for one in made if one["process"]}


def test_what_begins_in_a_new_cgroup_is_seen_from_its_first_instruction(
    network: Lab, aside: Sidecar
) -> None:
    begin(aside, "--all", "--attribution", "process")
    script = (
        "import os, socket, sys\n"
        "root = sys.argv[1]\n"
        "for number in range(100):\n"
        "    path = f'{root}/{number}'\n"
        "    os.mkdir(path)\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        open(f'{path}/cgroup.procs', 'w').write('0')\n"
        "        socket.socket().connect_ex(('10.213.7.2', 4100 + number))\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
    )
    with cgroup() as path:
        words = [sys.executable, "-I", "-c", script, str(path)]
        subprocess.run([*network.enter(), *words], check=True)
    aside.stop()

    seen = [one["dst"]["port"] for one in aside.reached(ip="10.213.7.2")]
    assert sorted(port for port in seen if 4100 <= port < 4200) == [*range(4100, 4200)]


def test_who_is_moved_in_stays_in_wherever_it_goes(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched))
    words = [*network.enter(), sys.executable, "-I", "-c", OLDER]
    with (
        cgroup() as elsewhere,
        subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as mover,
    ):
        assert mover.stdin is not None
        assert mover.stdout is not None
        for port, place in ((4091, None), (4092, watched), (4093, elsewhere)):
            if place is not None:
                (place / "cgroup.procs").write_text(str(mover.pid))
            print(port, file=mover.stdin, flush=True)
            mover.stdout.readline()
        mover.stdin.close()
    status, _ = aside.stop()

    assert status == 120
    seen = [one["dst"]["port"] for one in aside.reached(ip="10.213.7.2")]
    assert seen == [4092, 4093]


def test_a_program_from_before_whose_file_is_another_by_now_is_a_claim(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    program = aside.folder / "program"
    shutil.copy(os.path.realpath(sys.executable), program)
    words = inside(watched, str(program), "-I", "-c", OLDER)
    with subprocess.Popen(
        [*network.enter(), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as older:
        assert older.stdin is not None
        assert older.stdout is not None
        print(4094, file=older.stdin, flush=True)
        older.stdout.readline()
        program.unlink()
        program.write_text("another")
        begin(aside, "--cgroup", str(watched))
        print(4095, file=older.stdin, flush=True)
        older.stdout.readline()
        older.stdin.close()
    aside.stop()

    (one,) = aside.reached(port=4095)
    assert "process.exe" in {claim["field"] for claim in one["claimed"]}


def test_who_listened_before_is_a_listener_of_the_machine(
    network: Lab, aside: Sidecar
) -> None:
    serve = (
        "import socket\n"
        "s = socket.create_server(('127.0.0.1', 4061)); print('up', flush=True)\n"
        "while True: s.accept()[0].close()\n"
    )
    words = [*network.enter(), sys.executable, "-I", "-c", serve]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    begin(aside, "--all")
    client = "import socket; socket.create_connection(('127.0.0.1', 4061)).close()"
    subprocess.run([*network.enter(), sys.executable, "-I", "-c", client], check=True)
    aside.stop()
    server.kill()
    server.communicate()

    (one,) = aside.reached(port=4061)
    assert one["verdict"] == "local"


def test_a_watch_inside_is_no_violation(watched: Path, aside: Sidecar) -> None:
    begin(aside, "--cgroup", str(watched))
    inner = inside(watched, *WATCH, "--quiet", "--evidence", "e", "--", "true")
    done = subprocess.run(inner, check=False, cwd=aside.folder, capture_output=True)
    status, answer = aside.stop()

    assert done.returncode == 0, done.stderr
    assert (status, answer["verdict"]) == (0, "clean"), answer
    refused = [one for one in aside.verified() if one["type"] == "connection"]
    assert {one["verdict"] for one in refused} == {"local"}
    assert sum("for documentation" in one["reason"] for one in refused) >= 8


def test_phases_and_heartbeats_are_in_the_evidence(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched), "--heartbeat", "100ms", "--canaries", "0s")
    assert aside.ask("mark", "build").returncode == 0
    connect(network, watched, 4071)
    assert aside.ask("mark", "test").returncode == 0
    connect(network, watched, 4072)
    assert aside.status()["phase"] == "test"
    _, answer = aside.stop()

    assert answer["incomplete_reasons"] == []
    records = aside.verified()
    made = {
        one["dst"]["port"]: one["phase"]
        for one in records
        if one["type"] == "connection"
    }
    assert made == {4071: "build", 4072: "test"}
    beats = [one for one in records if one["type"] == "heartbeat"]
    assert len(beats) >= 2
    assert {(one["attached"], one["probes"]) for one in beats} == {
        (beats[0]["probes"], beats[0]["probes"])
    }
    during = [one for one in records if one["type"] == "canary"]
    assert {one["when"] for one in during} == {"start", "during", "end"}
    assert all(one["seen"] for one in during)


def test_a_mark_and_a_stop_print_anchors_that_hold(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched))
    marked = aside.ask("mark", "build").stdout
    connect(network, watched, 4071)
    token = str(aside.folder / "token")
    log = aside.folder / "log"
    log.write_text(marked + aside.ask("stop", "--token-file", token).stderr)

    assert marked.startswith(f"egressmon anchor run={aside.started['run']} seq=")
    result = aside.verify(log)
    assert (result.found, result.unreadable) == ([], [])
    log.write_text(marked)
    assert [one.kind for one in aside.verify(log).found] == ["anchor"]


def test_root_may_stop_it_without_the_token_and_the_run_is_incomplete(
    watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched))
    done = aside.ask("stop", "--json")
    answer = json.loads(done.stdout)

    assert (done.returncode, answer["concluded"]) == (121, False)
    (reason,) = answer["incomplete_reasons"]
    assert "stopped by root without the token" in reason
    assert aside.records()[-1]["verdict"] == "incomplete"


def test_the_token_of_another_run_stops_nothing(watched: Path, aside: Sidecar) -> None:
    begin(aside, "--cgroup", str(watched))
    wrong = aside.folder / "wrong"
    wrong.touch(0o600)
    wrong.write_text("x" * 32 + "\n")
    done = aside.ask("stop", "--token-file", str(wrong))

    assert done.returncode == 1
    assert aside.stop()[0] == 0


def test_others_may_not_stop_it_and_that_is_recorded(
    watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched))
    asked = f'{{"verb":"stop","token":"{"x" * 32}"}}\n'
    ask = (
        "import os, socket, sys\n"
        f"os.setuid({NOBODY})\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(sys.argv[2].encode()); print(s.makefile().readline())\n"
    )
    done = subprocess.run(
        inside(
            watched, sys.executable, "-I", "-c", ask, aside.started["socket"], asked
        ),
        check=True,
        capture_output=True,
        text=True,
    )
    status, _ = aside.stop()

    assert json.loads(done.stdout)["ok"] is False
    assert status == 0
    tried = [one for one in aside.verified() if one["type"] == "control"]
    assert [(one["verb"], one["allowed"], one["uid"]) for one in tried] == [
        ("stop", False, NOBODY),
        ("stop", True, 0),
    ]
    assert tried[0]["inside"] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_concludes_nothing(
    watched: Path, aside: Sidecar, number: signal.Signals
) -> None:
    begin(aside, "--cgroup", str(watched))
    pidfd = os.pidfd_open(aside.keeper)
    signal.pidfd_send_signal(pidfd, signal.SIGUSR1)  # which asks for nothing
    assert aside.status()["state"] == "watching"
    signal.pidfd_send_signal(pidfd, number)
    until_readable(pidfd)

    end = aside.records()[-1]
    assert (end["type"], end["verdict"]) == ("run.end", "incomplete")
    (reason,) = end["incomplete_reasons"]
    assert f"{number.name} from process {os.getpid()} of user 0" in reason


def until_readable(descriptor: int) -> None:
    """Wait until a process has ended."""
    assert select.select([descriptor], [], [], 60)[0]


def test_whoever_ends_the_process_that_waits_concludes_nothing(
    watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched))
    (own,) = watched.glob("egressmon-*")
    (waiting,) = map(int, (own / "cgroup.procs").read_text().split())
    pidfd = os.pidfd_open(aside.keeper)
    os.kill(waiting, signal.SIGKILL)
    until_readable(pidfd)

    end = aside.records()[-1]
    assert end["verdict"] == "incomplete"
    assert "was ended by somebody else" in end["incomplete_reasons"][0]


def test_without_its_agent_nothing_is_left(watched: Path, aside: Sidecar) -> None:
    begin(aside, "--cgroup", str(watched))
    children = Path(f"/proc/{aside.keeper}/task/{aside.keeper}/children")
    agent = int(children.read_text().split()[-1])
    pidfd = os.pidfd_open(aside.keeper)
    os.kill(agent, signal.SIGKILL)
    until_readable(pidfd)

    assert not list(watched.glob("egressmon-*"))
    assert not Path(aside.started["socket"]).exists()


def test_a_start_that_is_interrupted_leaves_nothing(
    watched: Path, aside: Sidecar
) -> None:
    where = ["--evidence", str(aside.folder / "evidence"), "--runtime", aside.runtime]
    words = [*EGRESSMON, "sidecar", "--cgroup", str(watched), "--detach", "--json"]
    starting = subprocess.Popen([*words, *where], stdout=subprocess.DEVNULL)
    lock = Path(aside.runtime, "lock")
    while not lock.exists() or not lock.read_text().strip():
        assert starting.poll() is None
    starting.kill()
    starting.wait()
    with suppress(ProcessLookupError):
        until_readable(os.pidfd_open(int(lock.read_text())))

    begin(aside, "--cgroup", str(watched))
    assert aside.stop()[0] == 0


def test_a_start_that_fails_leaves_no_token(aside: Sidecar) -> None:
    token = aside.folder / "token"
    done = aside.start("--cgroup", "/no/such")

    assert done.returncode == 125
    assert not token.exists()


def test_a_killed_sidecar_leaves_no_end(watched: Path, aside: Sidecar) -> None:
    begin(aside, "--cgroup", str(watched))
    pidfd = os.pidfd_open(aside.keeper)
    os.kill(aside.keeper, signal.SIGKILL)
    until_readable(pidfd)

    evidence = aside.started["evidence"]
    done = subprocess.run(
        [*EGRESSMON, "verify", evidence], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "the run has no end" in done.stdout + done.stderr
    stopped = aside.ask("stop", "--json")
    assert stopped.returncode == 2  # nobody is there, and that is no success
    # Another can come to the same place.
    (aside.folder / "token").unlink()
    begin(aside, "--cgroup", str(watched))
    assert aside.stop()[0] == 121


_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]  # bpf(2)'s number
_LINK_GET_NEXT_ID, _LINK_GET_FD_BY_ID, _LINK_DETACH = 31, 30, 34
_OBJ_GET_INFO = 15


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    room = ctypes.create_string_buffer(attributes, 128)
    result = ctypes.CDLL(None, use_errno=True).syscall(_BPF, command, room, 128)
    return result, room.raw


def links_of(cgroup_id: int) -> Generator[int]:
    """Open the BPF links of a cgroup, as root in a job could."""
    number = 0
    while True:
        result, room = _bpf(_LINK_GET_NEXT_ID, struct.pack("=II", number, 0))
        if result < 0:
            return
        (number,) = struct.unpack_from("=4xI", room)
        link, _ = _bpf(_LINK_GET_FD_BY_ID, struct.pack("=I", number))
        if link < 0:
            continue
        info = ctypes.create_string_buffer(64)
        _bpf(_OBJ_GET_INFO, struct.pack("=IIQ", link, 64, ctypes.addressof(info)))
        kind, _, _, cgroup = struct.unpack_from("=III4xQ", info)
        if kind == 3 and cgroup == cgroup_id:
            yield link
        else:
            os.close(link)


def test_a_probe_that_somebody_detaches_is_missed(
    watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched))
    taken = 0
    for link in links_of(watched.stat().st_ino):
        result, _ = _bpf(_LINK_DETACH, struct.pack("=I", link))
        taken += result == 0
        os.close(link)
        break
    status, answer = aside.stop()

    assert taken == 1
    assert (status, answer["verdict"]) == (121, "incomplete")
    assert any("probes were detached" in one for one in answer["incomplete_reasons"])


@pytest.mark.long
def test_an_agent_that_was_stopped_has_not_watched(
    watched: Path, aside: Sidecar
) -> None:
    begin(aside, "--cgroup", str(watched), "--heartbeat", "100ms")
    children = Path(f"/proc/{aside.keeper}/task/{aside.keeper}/children")
    agent = int(children.read_text().split()[-1])
    os.kill(agent, signal.SIGSTOP)
    assert aside.ask("status").returncode == 2
    time.sleep(12)  # what is tested is that time passes
    os.kill(agent, signal.SIGCONT)
    status, answer = aside.stop()

    assert (status, answer["verdict"]) == (121, "incomplete")
    assert any("it was stopped" in one for one in answer["incomplete_reasons"])


def test_there_is_one_sidecar_in_a_place(watched: Path, aside: Sidecar) -> None:
    begin(aside, "--cgroup", str(watched))
    with sidecar() as second:
        words = ["--cgroup", str(watched), "--detach", "--json"]
        where = ["--evidence", str(second.folder / "evidence")]
        done = aside.ask(*words, *where)
    assert done.returncode == 125
    assert f"another sidecar is running there (pid {aside.keeper})" in done.stderr
    assert aside.stop()[0] == 0


def test_two_sidecars_in_their_own_places(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    with sidecar(FAIL) as second:
        begin(aside, "--cgroup", str(watched))
        begin(second, "--cgroup", str(watched))
        connect(network, watched, 4081)
        assert second.stop()[0] == 120
        connect(network, watched, 4082)
        assert [one["dst"]["port"] for one in second.reached()] == [4081]
    assert aside.stop()[0] == 120
    assert [one["dst"]["port"] for one in aside.reached(ip="10.213.7.2")] == [
        4081,
        4082,
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cgroup", "/no/such"], "no cgroup of the v2 hierarchy"),
        (["--cgroup", "/../../etc"], "no cgroup of the v2 hierarchy"),
        (["--policy", "/nowhere/egress.toml"], "/nowhere/egress.toml"),
        (["--evidence", "/proc/nowhere"], "cannot be made or opened"),
        (["--all", "--cgroup", "/x"], "not allowed with"),
    ],
)
def test_what_cannot_be_watched_is_125(
    aside: Sidecar, options: list[str], said: str
) -> None:
    evidence = ["--evidence", str(aside.folder / "evidence")]
    done = aside.ask("--detach", "--json", *evidence, *options)

    assert done.returncode == 125
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_in_a_container_the_machine_is_not_what_it_looks_like(aside: Sidecar) -> None:
    evidence = ["--evidence", str(aside.folder / "evidence")]
    words = ["--all", "--detach", "--json", *evidence]
    done = aside.ask(*words, prefix=["unshare", "--cgroup"])

    assert done.returncode == 125
    assert "--cgroupns=host" in done.stderr


# As systemd gives a service that is to have a /tmp of its own, or read-only folders.
OWN_VIEW = ("unshare", "-m", "--propagation", "slave", "sh", "-c")
PRIVATE = 'mount -t tmpfs none /tmp && exec "$@"'


def test_a_service_knows_the_machines_own_programs(
    network: Lab, watched: Path, aside: Sidecar
) -> None:
    words = ["--cgroup", str(watched), "--policy", str(aside.folder / "egress.toml")]
    aside.start(*words, prefix=[*OWN_VIEW, PRIVATE, "sh"])

    lab = [
        "nsenter",
        f"--net=/run/netns/{network.client}",
    ]  # and no other view of files
    for port, view in (4070, []), (4071, ["unshare", "-m"]):
        client = [*view, sys.executable, "-I", "-c", CONNECT.format(port)]
        subprocess.run([*lab, *inside(watched, *client)], check=True)

    aside.stop()
    aside.verified()
    (machines,) = aside.reached(port=4070)
    (others,) = aside.reached(port=4071)
    assert machines["claimed"] == []
    claims = {one["field"]: one["reason"] for one in others["claimed"]}
    assert claims["process.exe"] == "seen from another mount namespace"
