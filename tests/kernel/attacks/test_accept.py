"""Who connects to the command is recorded and judged: data leaves that way, too."""

import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.lab import CLIENT4, OTHER4, Lab
from support.outside import outside
from support.watching import Watched

Watch = Callable[..., Watched]
PYTHON = sys.executable
PORT = "8099"
TCP, MPTCP = 6, 262
FAIL = ("--enforce", "fail")

SERVE = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM, int((*sys.argv, 0)[3]))
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2]))); s.listen()
c, _ = s.accept(); c.sendall(b"SECRET" * 1000); c.close()
"""
# Before it listens, aimed at a peer that may connect, and let go of it (connect(2)).
AIMED_FIRST = SERVE.replace(
    "s.bind",
    """
import ctypes
mine = socket.create_server(("127.0.0.1", 0)); s.connect(mine.getsockname())
assert not ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16)
s.bind""",
    1,
)
# Dials until somebody answers.
DIAL = """
import socket, sys
at, source = (sys.argv[1], int(sys.argv[2])), (sys.argv[3], 0)
while True:
    try:
        s = socket.create_connection(at, 5, source)
        break
    except OSError:
        pass
n = 0
while d := s.recv(65536): n += len(d)
print(n)
"""


@contextmanager
def dialling(namespace: str, to: str, source: str) -> Generator[Callable[[], str]]:
    """A peer that connects to the command's listener as soon as there is one."""
    process = subprocess.Popen(
        [
            *("nsenter", f"--net=/run/netns/{namespace}"),
            *(PYTHON, "-c", DIAL, to, PORT, source),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield lambda: str(process.communicate(timeout=30)[0]).strip()
    finally:
        process.kill()
        process.wait()


ANY = "0.0.0.0"  # noqa: S104 -- in a namespace


def serve(  # noqa: PLR0913, PLR0917 -- each one optional
    watched: Watch,
    network: Lab,
    policy: str,
    address: str = ANY,
    protocol: int = TCP,
    code: str = SERVE,
) -> Watched:
    """Run a server that a peer from another machine dials."""
    with dialling(network.server, CLIENT4, OTHER4) as got:
        run = watched(
            *(PYTHON, "-c", code, address, PORT, str(protocol)),
            policy=f"version = 1\nenforce = 'fail'\n{policy}",
        )
        assert got() == "6000"
    return run


@pytest.mark.parametrize(
    ("address", "protocol"), [(ANY, TCP), (CLIENT4, TCP), ("::", TCP), (ANY, MPTCP)]
)
def test_a_peer_that_dials_in_is_a_violation(
    watched: Watch, network: Lab, address: str, protocol: int
) -> None:
    run = serve(watched, network, "", address, protocol)

    (connection,) = run.of("connection")
    assert connection["op"] == "accept"
    assert connection["dst"]["ip"] == OTHER4
    assert connection["local_port"] == int(PORT)
    assert connection["protocol"] == "tcp"
    assert "python" in connection["process"]["exe"]
    assert (connection["verdict"], connection["rule"]) == ("violation", "accept.from")
    assert run.status == 120
    assert f"accepted from {OTHER4} at port {PORT}/tcp" in run.stderr


@pytest.mark.parametrize("admitted", ['"any"', '["10.213.7.0/24"]'])
def test_a_policy_may_admit_peers(watched: Watch, network: Lab, admitted: str) -> None:
    run = serve(watched, network, f"[accept]\nfrom = {admitted}\n")

    assert run.reached() == {
        ("accept", OTHER4, run.of("connection")[0]["dst"]["port"], "allowed")
    }
    assert run.status == 0


def test_what_a_list_does_not_name_is_not_admitted(
    watched: Watch, network: Lab
) -> None:
    run = serve(watched, network, "[accept]\nfrom = ['192.0.2.0/24']\n")

    assert run.status == 120


# Over loopback, from outside the scope: it may be a relay that fetches.
def test_where_a_listener_was_aimed_before_is_not_who_calls(
    watched: Watch, network: Lab
) -> None:
    admitted = "[accept]\nfrom = ['127.0.0.1']\n"

    run = serve(watched, network, admitted, code=AIMED_FIRST)

    (accepted,) = (one for one in run.of("connection") if one["op"] == "accept")
    assert accepted["dst"]["ip"] == OTHER4
    assert accepted["dst"]["translated"] is None
    assert run.end["verdict"] == "violations"


def test_a_local_peer_is_recorded_and_local(watched: Watch, network: Lab) -> None:
    with outside(network, DIAL, "127.0.0.1", PORT, "127.0.0.1"):
        run = watched(PYTHON, "-c", SERVE, "127.0.0.1", PORT)

    (connection,) = run.of("connection")
    assert (connection["op"], connection["verdict"]) == ("accept", "local")
    assert connection["dst"]["ip"] == "127.0.0.1"
    assert run.end["verdict"] == "clean"


def test_the_commands_connections_to_itself_are_recorded_once(watched: Watch) -> None:
    code = (
        "import socket\n"
        "for at, family in ((('127.0.0.1', 0), 2), (('::1', 0), 10)):\n"
        "    s = socket.create_server(at, family=family)\n"
        "    for _ in range(5):\n"
        "        c = socket.create_connection(s.getsockname()[:2]); s.accept()\n"
    )

    run = watched(PYTHON, "-c", code)

    assert {one["op"] for one in run.of("connection")} == {"connect"}
    assert run.end["connections"] == {"local": 10}


def test_a_listener_that_was_made_outside_the_cgroup_is_watched(
    watched: Watch, network: Lab
) -> None:
    leave = (
        "import os\n"
        "root = [l.split()[1] for l in open('/proc/mounts') if ' cgroup2 ' in l][0]\n"
        "open(root + '/cgroup.procs', 'w').write('0')\n"
    )
    with dialling(network.server, CLIENT4, OTHER4) as got:
        run = watched(PYTHON, "-c", leave + SERVE, ANY, PORT)
        assert got() == "6000"

    (connection,) = run.of("connection")
    assert (connection["op"], connection["socket"]) == ("accept", "foreign")
    assert connection["verdict"] == "violation"


# UDP has no accepting: the answer to a peer that wrote first is a send.
def test_a_datagram_that_answers_a_peer_is_judged_as_a_send(
    watched: Watch, network: Lab
) -> None:
    ask = (
        "import socket\n"
        f"s = socket.socket(type=2); s.bind(('{OTHER4}', 7777)); s.settimeout(0.1)\n"
        "while True:\n"
        f"    s.sendto(b'give', ('{CLIENT4}', {PORT}))\n"
        "    try: print(s.recv(9).decode(), flush=True); break\n"
        "    except OSError: pass\n"
    )
    code = (
        "import socket\n"
        f"s = socket.socket(type=2); s.bind(('0.0.0.0', {PORT}))\n"
        "d, a = s.recvfrom(9); s.sendto(b'SECRET', a)"
    )
    words = ["nsenter", f"--net=/run/netns/{network.server}", PYTHON, "-c", ask]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as peer:
        stop = threading.Timer(60, peer.kill)
        stop.start()
        run = watched(PYTHON, "-c", code, options=FAIL)
        assert peer.communicate()[0].strip() == "SECRET"
        stop.cancel()

    assert run.reached() == {("send", OTHER4, 7777, "violation")}
    assert run.status == 120


def test_learn_tells_who_dialled_in_and_admits_nobody(
    watched: Watch, network: Lab
) -> None:
    with dialling(network.server, CLIENT4, OTHER4) as got:
        run = watched(
            *(PYTHON, "-c", SERVE, ANY, PORT),
            verb="learn",
            options=["--output", "-"],
        )
        assert got() == "6000"

    assert f'#   "{OTHER4}",  # {Path(PYTHON).resolve().name} (1x)' in run.stdout
    assert "# [accept]" in run.stdout
    assert "\n[accept]" not in run.stdout
    assert "[[allow]]" not in run.stdout
