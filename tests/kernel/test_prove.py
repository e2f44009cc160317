"""Proofs: several runs of a scenario in phases, and what they say together."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from egressmon.locking import check, write_lock
from support.lab import HTTP_PORT, OTHER4, SERVER4, Lab
from support.proving import Proof, prove, words
from support.users import ALL_MAY, ALONE, NOBODY, as_nobody
from support.waiting import until
from support.watching import EGRESSMON, LIMIT_S

EXAMPLES = Path(__file__).parents[2] / "docs/examples/plans"
Prove = Callable[..., Proof]
# Connects to HOST:PORT, given as words.
CONNECT = (
    "import socket, sys\n"
    "for one in sys.argv[1:]:\n"
    "    host, port = one.split(':')\n"
    "    s = socket.socket(); s.settimeout(5)\n"
    "    s.connect_ex((host, int(port))); s.close()\n"
)
WORD = f"9{os.getpid()}"  # by which this worker's processes are found
HEAD = 'version = 1\nruns = 1\n[limits]\nready = "5s"\nstop = "5s"\n'


def connecting(*targets: str) -> str:
    """Return a command that connects to all targets, as a plan has it."""
    return json.dumps([sys.executable, "-I", "-c", CONNECT, *targets])


def phase(name: str, command: str, more: str = "") -> str:
    """Return a phase that runs a command."""
    return f'[[phase]]\nname = "{name}"\ncommand = {command}\n{more}\n'


@pytest.fixture
def proven(network: Lab, tmp_path: Path) -> Prove:
    """Run `egressmon prove` in the test network's client namespace."""

    def run(*arguments: str, **how: Any) -> Proof:
        return prove(tmp_path, *arguments, prefix=network.enter(), **how)

    return run


def example(name: str, folder: Path) -> str:
    """Copy an example into folder, and return its plan's text."""
    shutil.copytree(EXAMPLES / name, folder, dirs_exist_ok=True)
    return (folder / "plan.toml").read_text()


@pytest.mark.smoke
def test_a_web_server_is_proven(proven: Prove, tmp_path: Path) -> None:
    plan = example("web-server", tmp_path)

    proof = proven("--set", "phase.idle.idle=1s", "--runs", "2", plan=plan)

    assert (proof.status, proof.verdict) == (0, "PASS"), proof.stderr
    of_run = {"evidence.jsonl", "model.log", "server.log", "summary.json"}
    assert proof.files() == {
        *("SUMMARY.md", "evidence.lock", "plan.toml", "policy.toml", "summary.json"),
        *(f"run-{n:02d}/{name}" for n in (1, 2) for name in of_run),
    }
    assert proof.folder.stat().st_mode & 0o777 == 0o750
    assert check(str(proof.folder)) == []
    lock = (proof.folder / "evidence.lock").read_bytes()
    assert proof.stdout.splitlines() == [
        "PASS: every criterion holds",
        "proof/SUMMARY.md",
        f"proof/evidence.lock blake3:{blake3(lock).hexdigest()}",
    ]
    marks = [one for one in proof.records() if one["type"] == "phase"]
    asked = ["create", "boot", "turn", "logged", "idle"]
    wanted = ["start", "probe", *asked, "probe", "stop"]
    assert [one["name"] for one in marks] == [name for name in wanted for _ in "be"]
    assert {one["outcome"] for one in marks} == {None, "completed"}
    (made,) = [
        one
        for one in proof.records()
        if one["type"] == "connection"
        and one["op"] == "connect"
        and one["dst"]["port"] == 8901
    ]
    assert made["phase"] == "turn"
    assert "turn 1 of session 1 is done" in proof.log("server")


def test_a_proof_verifies_with_its_signature(proven: Prove, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True
    )
    public = key.with_suffix(".pub").read_text()
    (tmp_path / "signers").write_text(f'ci namespaces="egressmon" {public}')

    plan = (
        HEAD + phase("calm", '["true"]') + '[[probe]]\ndestination = "198.51.100.1:1"\n'
    )
    proof = proven("--sign-key", "key", plan=plan)

    assert (proof.status, proof.verdict) == (0, "PASS"), proof.stderr
    verify = ["verify", "--allowed-signers", "signers", "proof"]
    done = subprocess.run([*EGRESSMON, *verify], cwd=tmp_path, check=False)
    assert done.returncode == 0


def test_what_left_the_machine_is_compared(proven: Prove, tmp_path: Path) -> None:
    plan = HEAD + phase("calm", '["true"]')
    proof = proven("--anchor", "log", "--runs", "2", plan=plan)

    assert (proof.status, proof.verdict) == (0, "PASS"), proof.stderr
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.partition("=")[0] for line in lines] == [
        "egressmon anchor run",
        "egressmon anchor run",
        "egressmon anchor lock",
    ]
    verify = [*EGRESSMON, "verify", "--anchor", "log", "proof"]
    assert subprocess.run(verify, cwd=tmp_path, check=False).returncode == 0
    # Another page, and a lock that is right again.
    (proof.folder / "more").touch()
    write_lock(str(proof.folder), policy="policy.toml", plan="plan.toml")
    done = subprocess.run(
        verify, cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "proof/evidence.lock: anchor: is blake3:" in done.stdout


def test_anchors_that_cannot_be_written_are_told_at_once(proven: Prove) -> None:
    proof = proven("--anchor", "/", plan=HEAD + phase("calm", '["true"]'))

    assert proof.status == 125
    assert "anchors cannot be written to /" in proof.stderr
    assert not proof.folder.exists()


def test_a_key_that_cannot_sign_is_told_at_once(proven: Prove) -> None:
    proof = proven("--sign-key", "none", plan=HEAD + phase("calm", '["true"]'))

    assert proof.status == 125
    assert "cannot be signed with none" in proof.stderr
    assert not proof.folder.exists()


def test_a_test_suite_is_proven(proven: Prove, tmp_path: Path) -> None:
    plan = example("pytest", tmp_path)
    command = json.dumps([sys.executable, "-m", "pytest", "-q", "tests"])

    proof = proven(
        *("--runs", "1", "--set", f"phase.suite.command={command}"), plan=plan
    )

    assert (proof.status, proof.verdict) == (0, "PASS"), proof.stderr
    assert "1 passed" in proof.log("phase-suite")


def test_a_violation_is_told_with_its_phase(proven: Prove) -> None:
    target = f"{SERVER4}:{HTTP_PORT}"
    plan = HEAD + phase("calm", '["true"]') + phase("loud", connecting(target))

    proof = proven(plan=plan)

    assert (proof.status, proof.verdict) == (120, "FAIL"), proof.stderr
    assert proof.reason == f"no violation: run 1: {target}/tcp in phase loud"
    assert proof.stdout.startswith("FAIL: no violation")
    assert "# FAIL" in (proof.folder / "SUMMARY.md").read_text()
    assert check(str(proof.folder)) == []


ALLOWED = f'version = 1\n[[allow]]\ncidr = "{SERVER4}/31"\nports = [{HTTP_PORT}]\n'


def differing(agree: str) -> str:
    """Return a plan whose second run goes elsewhere than its first."""
    pick = f"import sys; sys.argv[1:] = [sys.argv[int(sys.argv[3])]]\n{CONNECT}"
    targets = f"{SERVER4}:{HTTP_PORT}", f"{OTHER4}:{HTTP_PORT}"
    command = json.dumps([sys.executable, "-I", "-c", pick, *targets, "{run}"])
    return f"version = 1\nruns = 2\n{agree}\n{phase('go', command)}"


def test_runs_that_differ_prove_nothing(proven: Prove) -> None:
    proof = proven(plan=differing(""), policy=ALLOWED)

    assert (proof.status, proof.verdict) == (120, "FAIL"), proof.stderr
    assert proof.criterion("runs agree: destinations")["details"] == [
        f"{SERVER4}:{HTTP_PORT}/tcp: only in run 1",
        f"{OTHER4}:{HTTP_PORT}/tcp: only in run 2",
    ]


def test_what_runs_agree_on_can_be_chosen(proven: Prove) -> None:
    proof = proven(plan=differing('agree = ["routes"]'), policy=ALLOWED)

    assert (proof.status, proof.verdict) == (0, "PASS"), proof.stdout


@pytest.mark.parametrize(
    ("expectation", "status"),
    [
        ("at_least = 2, at_most = 2", 0),
        ("at_least = 3", 120),
        ("at_most = 1", 120),
    ],
)
def test_expectations_count_connections_of_their_phase(
    proven: Prove, expectation: str, status: int
) -> None:
    target = f"{SERVER4}:{HTTP_PORT}"
    expect = f'expect = [{{ destination = "{target}", {expectation} }}]'
    go = connecting(target, target)
    plan = HEAD + phase("first", go, expect) + phase("other", go)

    proof = proven(plan=plan, policy=ALLOWED)

    assert proof.status == status, proof.stdout
    assert proof.criterion("expected: first")["figures"] == "run 1: 2 connections"


NAMED = 'version = 1\n[[allow]]\nhost = "four.example.test"\nports = [80]\n'


def test_runs_agree_on_a_name_and_what_asked_for_it(proven: Prove) -> None:
    fetch = "import urllib.request as r; r.urlopen('http://four.example.test/').read()"
    command = json.dumps([sys.executable, "-I", "-c", fetch])
    expect = 'expect = [{ destination = "*.example.test:80/tcp", at_least = 1 }]'

    proof = proven(
        "--runs", "2", plan=HEAD + phase("go", command, expect), policy=NAMED
    )

    assert (proof.status, proof.verdict) == (0, "PASS"), proof.stdout
    assert proof.summary["destinations"]["four.example.test:80/tcp"] == [1, 1]
    assert proof.of_file("run-02/summary.json")["resolvers"] == [SERVER4]
    assert proof.of_file("run-02/summary.json")["routes"]


def test_a_record_has_the_phase_of_its_own_time(proven: Prove) -> None:
    names = [f"p{number}" for number in range(8)]
    plan = HEAD + "".join(
        phase(name, connecting(*[f"{SERVER4}:{7000 + number}"] * 20))
        for number, name in enumerate(names)
    )

    proof = proven(plan=plan)

    made = [one for one in proof.records() if one["type"] == "connection"]
    found = {(one["dst"]["port"], one["phase"]) for one in made}
    assert found == {(7000 + number, name) for number, name in enumerate(names)}


def test_a_probe_that_is_allowed_does_not_prove_the_policy(proven: Prove) -> None:
    probe = f'[[probe]]\ndestination = "{SERVER4}:{HTTP_PORT}"\n'
    plan = HEAD + phase("calm", '["true"]') + probe

    proof = proven(plan=plan, policy=ALLOWED)

    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), proof.stdout
    assert proof.reason == (
        f"probes: run 1: {SERVER4}:{HTTP_PORT}: allowed, not violation"
    )


def test_the_command_cannot_pass_for_a_probe(proven: Prove) -> None:
    probe = '[[probe]]\ndestination = "198.51.100.1:443"\n'
    plan = HEAD + phase("loud", connecting("198.51.100.1:443")) + probe

    proof = proven(plan=plan)

    assert (proof.status, proof.verdict) == (120, "FAIL"), proof.stdout


SERVER = (
    "import http.server, sys\n"
    "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])),"
    " http.server.SimpleHTTPRequestHandler).serve_forever()"
)
SERVING = json.dumps([sys.executable, "-I", "-c", SERVER, "8902"])


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (
            '[[process]]\nname = "mute"\nargv = ["sleep", "100"]\n'
            'ready = { port = 8903, limit = "500ms" }\n' + phase("never", '["true"]'),
            "phase start: mute was not ready within 0.5 s: port 8903 was not opened",
        ),
        (
            (
                '[[process]]\nname = "brief"\n'
                'argv = ["sh", "-c", "sleep 0.3; exit 3"]\n'
                '[[phase]]\nname = "wait"\nidle = "60s"\n'
            ),
            "phase wait: brief has ended: exit status 3",
        ),
        (
            phase("slow", '["sleep", "60"]', 'limit = "300ms"'),
            "phase slow: it took longer than 0.3 s",
        ),
        (
            phase("bad", '["sh", "-c", "echo why; exit 7"]'),
            "phase bad: the command ended with exit status 7",
        ),
        (
            phase("none", '["/no/such"]'),
            "phase none: phase-none: /no/such cannot be run: No such file or directory",
        ),
        (
            (
                f'[[process]]\nname = "s"\nargv = {SERVING}\n'
                "ready = { port = 8902 }\n"
                '[[phase]]\nname = "ask"\n'
                'request = { url = "http://127.0.0.1:8902/none" }\n'
            ),
            "phase ask: GET http://127.0.0.1:8902/none: status 404, not 200",
        ),
        (
            (
                '[[process]]\nname = "s"\nargv = ["sleep", "100"]\n'
                '[[phase]]\nname = "listen"\nlimit = "300ms"\n'
                'wait_log = { process = "s", pattern = "ready" }\n'
            ),
            "phase listen: s did not write 'ready': it took longer than 0.3 s",
        ),
        (
            '[[process]]\nname = "deaf"\nstop = "TERM"\n'
            'argv = ["sh", "-c", "trap : TERM; while :; do sleep 0.1; done"]\n'
            + phase("calm", '["true"]'),
            "phase stop: did not end within 5 s: deaf",
        ),
    ],
    ids=lambda one: one.partition(":")[0] if one.startswith("phase ") else "",
)
def test_a_scenario_that_is_not_carried_out_is_incomplete(
    proven: Prove, plan: str, reason: str
) -> None:
    proof = proven("--runs", "2", plan=HEAD + plan)

    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), proof.stderr
    assert reason in proof.criterion("phases")["details"][0], proof.summary
    assert proof.summary["runs"] == {"wanted": 2, "made": 1}
    assert proof.records()[-1]["type"] == "run.end"
    assert check(str(proof.folder)) == []


def test_what_the_command_leaves_behind_is_told_and_killed(proven: Prove) -> None:
    left = f"setsid sleep {WORD} >/dev/null 2>&1 & sleep 0.3"
    plan = HEAD.replace("5s", "1s") + phase("leave", json.dumps(["sh", "-c", left]))

    proof = proven(plan=plan)

    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), proof.stdout
    assert proof.reason.startswith("all ended: run 1: sleep (")
    assert not running(WORD)


def running(word: str) -> list[str]:
    """Return the pids of processes that have the word on their command line."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in line:
            found.append(path.parent.name)
    return found


def test_secrets_are_in_no_log(proven: Prove) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    say = f"print('Authorization: Bearer ' + '{token[:9]}' + '{token[9:]}')"
    command = json.dumps([sys.executable, "-c", say])

    proof = proven(plan=HEAD + phase("say", command))

    assert token not in proof.log("phase-say")
    assert "Authorization: " in proof.log("phase-say")
    assert proof.criterion("no secret")["result"] == "holds"


def test_a_request_may_use_a_secret_that_is_nowhere(proven: Prove) -> None:
    echo = (
        "import http.server, os\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        right = self.headers['Authorization'] == os.environ['THE_TOKEN']\n"
        "        self.send_response(204 if right else 401); self.end_headers()\n"
        "http.server.HTTPServer(('127.0.0.1', 8904), H).serve_forever()"
    )
    argv = json.dumps([sys.executable, "-I", "-c", echo])
    plan = (
        f'{HEAD}[[process]]\nname = "s"\nargv = {argv}\nready = {{ port = 8904 }}\n'
        '[[phase]]\nname = "ask"\n[phase.request]\nurl = "http://127.0.0.1:8904/"\n'
        'status = 204\nheaders = { Authorization = { env = "THE_TOKEN" } }\n'
    )

    proof = proven(plan=plan, environment={"THE_TOKEN": "Bearer tops3cretvalue"})

    assert (proof.status, proof.verdict) == (0, "PASS"), proof.stdout
    for name in proof.files():
        assert b"tops3cretvalue" not in (proof.folder / name).read_bytes(), name


def test_evidence_that_a_later_run_changes_is_found(proven: Prove) -> None:
    change = (
        "import os, sys\n"
        "if sys.argv[1] == '2':\n"
        "    path = 'proof/run-01/evidence.jsonl'\n"
        "    data = open(path, 'rb').read().replace(b'sh', b'hs', 1)\n"
        "    open(path, 'wb').write(data)\n"
    )
    command = json.dumps([sys.executable, "-c", change, "{run}"])

    proof = proven("--runs", "2", plan=HEAD + phase("forge", command))

    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), proof.stdout
    details = proof.criterion("nothing was changed")["details"]
    assert details == ["run-01/evidence.jsonl was changed"]


def test_a_folder_in_the_proofs_place_is_not_written_to(
    proven: Prove, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    swap = "mv proof gone && ln -s elsewhere proof"
    plan = HEAD + phase("swap", json.dumps(["sh", "-c", swap]))

    proof = proven(plan=plan)

    assert proof.status == 121, proof.stdout
    assert list((tmp_path / "elsewhere").iterdir()) == []
    moved = json.loads((tmp_path / "gone/summary.json").read_text())
    assert moved["verdict"] == "INCOMPLETE"


def until_gone(word: str) -> None:
    """Wait until no process has the word on its command line."""
    until(lambda: not running(word))


def started(network: Lab, folder: Path, plan: str) -> "subprocess.Popen[str]":
    """Start a proof, and return when its phase `wait` has begun."""
    (folder / "plan.toml").write_text(plan)
    begun = subprocess.Popen(
        [*network.enter(), *words("plan.toml", "--output", "proof")],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    evidence = folder / "proof/run-01/evidence.jsonl"
    until = time.monotonic() + LIMIT_S
    while not evidence.exists() or b'"phase":"wait"' not in evidence.read_bytes():
        assert begun.poll() is None, begun.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    return begun


WAITING = (
    f'{HEAD}[[process]]\nname = "long"\nargv = ["sleep", "{WORD}"]\n'
    '[[phase]]\nname = "wait"\nidle = "10m"\n'
)


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in path.read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_an_interrupted_proof_is_incomplete(
    network: Lab, tmp_path: Path, number: signal.Signals, send: Callable[..., None]
) -> None:
    expected = 'expect = [{ destination = "any", at_least = 1 }]\n'
    begun = started(network, tmp_path, WAITING + expected)

    send(begun.pid, number)
    output, errors = begun.communicate(timeout=LIMIT_S)

    proof = Proof(begun.returncode, output, errors, tmp_path / "proof")
    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), errors
    assert proof.reason == "phases: run 1: phase wait: interrupted"
    assert proof.records()[-1]["type"] == "run.end"
    assert check(str(proof.folder)) == []
    assert not running(WORD)


@pytest.mark.parametrize("whom", ["the starter", "the conductor"])
def test_a_killed_proof_leaves_no_process_and_claims_nothing(
    network: Lab, tmp_path: Path, whom: str
) -> None:
    begun = started(network, tmp_path, WAITING)
    conductor = min(children_of(begun.pid))

    os.kill(begun.pid if whom == "the starter" else conductor, signal.SIGKILL)
    output, errors = begun.communicate(timeout=LIMIT_S)

    proof = Proof(begun.returncode, output, errors, tmp_path / "proof")
    assert proof.status in {121, -signal.SIGKILL}
    assert proof.verdict == "INCOMPLETE"
    said = "makes the proof was ended by signal 9; what there is of it is in proof"
    assert (whom == "the conductor") == (said in errors)
    until_gone(WORD)


def test_a_killed_starter_ends_the_run_without_the_conductor(
    network: Lab, tmp_path: Path
) -> None:
    begun = started(network, tmp_path, WAITING)
    conductor = min(children_of(begun.pid))
    os.kill(conductor, signal.SIGSTOP)

    os.kill(begun.pid, signal.SIGKILL)
    try:
        until_gone(WORD)
    finally:
        os.kill(conductor, signal.SIGCONT)
    begun.communicate(timeout=LIMIT_S)


# The launcher is its parent, the agent and the conductor are among the others.
PEEK = """
import ctypes, os, pathlib, signal
print("files", *sorted(os.listdir("/proc/self/fd")))
print("user", os.getuid())
libc = ctypes.CDLL(None, use_errno=True)
launcher = os.getppid()
print("attach", libc.ptrace(16, launcher, 0, 0), ctypes.get_errno())
taken = libc.syscall(438, os.pidfd_open(launcher), 5, 0)
print("take", taken, ctypes.get_errno())
parents = {}
for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
        parents[path.parent.name] = path.read_text().rpartition(")")[2].split()[1]
    except OSError:  # it has ended
        pass
def line(pid):
    while pid in parents:
        yield pid
        pid = parents[pid]
def is_egressmon(pid):
    return b"egressmon" in pathlib.Path("/proc", pid, "cmdline").read_bytes()
# Other tests' may be there, too: the first of this one's, and all that it started.
first = [pid for pid in line(str(os.getpid())) if is_egressmon(pid)][-1]
for pid in parents:
    if first in line(pid) and pid != str(os.getpid()):
        try:
            if is_egressmon(pid):
                print("fd", pid, len(os.listdir(f"/proc/{pid}/fd")))
        except OSError as error:
            print("no", error.strerror)
print("seen", len([pid for pid in parents if first in line(pid)]))
"""


@pytest.fixture
def nobodys() -> Generator[Path]:
    """A folder that belongs to nobody, whom sudo asks no password."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-user-", dir="/tmp"))
    shutil.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


KILL = f"setsid sleep {WORD} & sleep 0.2; kill -9 "


def test_the_user_can_end_a_proof_and_have_nothing_claimed(
    network: Lab, tmp_path: Path, nobodys: Path
) -> None:
    shutil.chown(nobodys, ALONE, ALONE)  # nobody's other processes may be other tests'
    plan = HEAD + phase("kill", json.dumps(["sh", "-c", f"{KILL} -1"]))
    through = as_nobody(tmp_path, ["sudo", "-n"], ALL_MAY, ALONE)

    proof = prove(nobodys, plan=plan, prefix=[*network.enter(), *through])

    assert proof.status != 0
    assert proof.verdict == "INCOMPLETE"
    until_gone(WORD)  # sudo was killed, too, and nobody waited for the rest


def test_a_killed_launcher_takes_all_with_it(proven: Prove) -> None:
    plan = HEAD + phase("kill", json.dumps(["sh", "-c", f"{KILL} $PPID; sleep 9"]))

    proof = proven(plan=plan)

    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), proof.stderr
    assert "the process that starts the others was ended" in proof.reason
    assert not running(WORD)
    assert proof.records()[-1]["type"] == "run.end"


def test_a_stopped_launcher_does_not_hold_a_proof_up(proven: Prove) -> None:
    halt = json.dumps(["sh", "-c", f"kill -STOP $PPID; sleep {WORD}"])
    plan = HEAD.replace("5s", "1s") + phase("halt", halt, 'limit = "1s"')

    proof = proven(plan=plan)

    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), proof.stderr
    assert not running(WORD)
    took = float(proof.summary["seconds"])
    assert took < 20, proof.stderr  # the limits, and some more


DRIPPING = (
    "import socket, time\n"
    "s = socket.socket(); s.setsockopt(1, 2, 1)\n"
    "s.bind(('127.0.0.1', 8905)); s.listen()\n"
    "while True:\n"
    "    c, _ = s.accept(); c.recv(100)\n"
    "    try:\n"
    "        while True: c.send(b'H'); time.sleep(0.2)\n"
    "    except OSError: pass\n"
)


def test_an_answer_that_drips_holds_nothing_up(proven: Prove) -> None:
    argv = json.dumps([sys.executable, "-I", "-c", DRIPPING])
    ready = '{ url = "http://127.0.0.1:8905/", limit = "2s" }'
    server = f'[[process]]\nname = "s"\nargv = {argv}\nready = {ready}\n'

    proof = proven(plan=HEAD + server + phase("calm", '["true"]'))

    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), proof.stderr
    assert "s was not ready within 2 s" in proof.criterion("phases")["details"][0]


def test_evidence_that_a_command_changes_is_found(proven: Prove) -> None:
    change = "echo '{}' >>proof/run-01/evidence.jsonl"
    plan = HEAD + phase("forge", json.dumps(["sh", "-c", change]))

    proof = proven(plan=plan)

    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), proof.stdout
    assert "it was changed since" in proof.reason


def test_a_full_disk_is_said_and_claims_nothing(network: Lab, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    fill = '["sh", "-c", "for i in $(seq 200); do /bin/true; done"]'
    script = 'mount -t tmpfs -o size=60k,mode=755 tmpfs "$0" && cd "$0" && exec "$@"'
    # It is mounted where only the proof sees it: what it wrote is printed there.
    show = 'shift 0; "$@"; echo "status $?"; cat proof/summary.json'
    (tmp_path / "plan.toml").write_text(HEAD + phase("fill", fill))
    done = subprocess.run(
        [
            *network.enter(),
            *("sh", "-c", script, str(tmp_path / "small"), "sh", "-c", show, "sh"),
            *words(str(tmp_path / "plan.toml"), "--output", "proof"),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert "Traceback" not in done.stderr
    assert "INCOMPLETE: nothing lost: run 1: the evidence could not" in done.stdout
    assert "status 121" in done.stdout
    assert '"verdict": "INCOMPLETE"' in done.stdout


@pytest.mark.parametrize("called", [["sudo", "-n"], []], ids=["sudo", "by itself"])
def test_what_runs_in_the_scope_cannot_look_into_what_watches_it(
    network: Lab, tmp_path: Path, nobodys: Path, called: list[str]
) -> None:
    plan = HEAD + phase("peek", json.dumps(["/usr/bin/python3", "-c", PEEK]))
    through = as_nobody(tmp_path, called, ALL_MAY)

    proof = prove(nobodys, plan=plan, prefix=[*network.enter(), *through])

    assert (proof.status, proof.verdict) == (0, "PASS"), proof.stderr
    said = proof.log("phase-peek").splitlines()
    assert said[:4] == [
        "files 0 1 2 3",  # 3: the listing itself
        f"user {NOBODY}",
        f"attach -1 {errno.EPERM}",
        f"take -1 {errno.EPERM}",
    ]
    assert set(said[4:-1]) == {"no Permission denied"}
    assert int(said[-1].removeprefix("seen ")) >= 4  # what watches it, and itself
    assert proof.folder.stat().st_uid == NOBODY
    assert {path.stat().st_uid for path in proof.folder.rglob("*")} == {NOBODY}


# The shell that ignores SIGTERM goes on after the first interrupt, for its limit.
STUBBORN = (
    f'{HEAD.replace("5s", "60s")}[[process]]\nname = "deaf"\n'
    f'argv = ["sh", "-c", "trap : TERM; while :; do sleep 0.1; done", "{WORD}"]\n'
    '[[phase]]\nname = "wait"\nidle = "10m"\n'
)


# One that comes at once is the same interrupt.
def interrupted_until_it_ends(begun: subprocess.Popen[str]) -> tuple[str, str]:
    for _ in range(50):  # less than the limit
        os.killpg(begun.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return begun.communicate(timeout=1)
    raise AssertionError("it goes on")


def test_a_second_interrupt_waits_for_nothing(network: Lab, tmp_path: Path) -> None:
    begun = started(network, tmp_path, STUBBORN)
    evidence = tmp_path / "proof/run-01/evidence.jsonl"

    os.killpg(begun.pid, signal.SIGINT)
    while b'"phase":"stop"' not in evidence.read_bytes():
        time.sleep(0.02)
    output, errors = interrupted_until_it_ends(begun)

    proof = Proof(begun.returncode, output, errors, tmp_path / "proof")
    assert (proof.status, proof.verdict) == (121, "INCOMPLETE"), errors
    assert not running(WORD)


# As the run is armed, and as what it starts begins: by the bytes of evidence.
@pytest.mark.parametrize("size", [0, 1, 7000, 9000])
def test_a_starter_that_is_killed_as_a_run_begins_leaves_nobody(
    network: Lab, tmp_path: Path, size: int
) -> None:
    (tmp_path / "plan.toml").write_text(WAITING)
    command = [*network.enter(), *words("plan.toml", "--output", "proof")]
    begun = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    until = time.monotonic() + LIMIT_S
    evidence = tmp_path / "proof/run-01/evidence.jsonl"
    while not (evidence.exists() and evidence.stat().st_size >= size):
        assert time.monotonic() < until
        time.sleep(0.001)

    os.kill(begun.pid, signal.SIGKILL)
    begun.wait()

    until = time.monotonic() + 10
    session = ["pgrep", "-s", str(begun.pid)]
    while subprocess.run(session, check=False, capture_output=True).stdout:
        assert time.monotonic() < until
        time.sleep(0.05)
    until_gone(WORD)
