"""Loopback is local only to the scope's own listeners; what else leaves is seen."""

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from support.lab import OTHER4, SERVER4, UDP_PORT, Lab
from support.watching import Watched

Watch = Callable[..., Watched]
PYTHON = sys.executable

OWN_SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
for _ in range(20):
    client = socket.create_connection(server.getsockname())
    server.accept()[0].close(); client.close()
"""
OWN_UDP = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.sendto(b"x", server.getsockname())
_, back = server.recvfrom(9)
server.sendto(b"y", back)
"""
OWN_WILDCARD = """
import socket
server = socket.create_server(("", 0))
socket.create_connection(("127.0.0.1", server.getsockname()[1]))
"""
RELAY = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
print(server.getsockname()[1], flush=True)
while True:
    server.accept()[0].close()
"""
CONNECT = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])))
"""


@contextmanager
def relay(network: Lab, address: str = "127.0.0.1") -> Generator[str]:
    """A listener outside the scope, in the client's namespace."""
    process = subprocess.Popen(
        [*network.enter(), PYTHON, "-c", RELAY, address],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.stdout.close()
        process.wait()


def test_listeners_that_live_for_milliseconds_are_local(watched: Watch) -> None:
    for code in (OWN_SERVER, OWN_UDP, OWN_WILDCARD):
        run = watched(PYTHON, "-c", code)

        assert set(run.end["connections"]) == {"local"}
        assert run.end["verdict"] == "clean"


def test_a_relay_outside_the_scope_is_judged_like_any_peer(
    watched: Watch, network: Lab
) -> None:
    with relay(network) as port:
        run = watched(PYTHON, "-c", CONNECT, "127.0.0.1", port)
        allowed = watched(
            *(PYTHON, "-c", CONNECT, "127.0.0.1", port),
            policy=f'version = 1\n[[allow]]\ncidr = "127.0.0.1"\nports = [{port}]\n',
        )
        opened = watched(
            *(PYTHON, "-c", CONNECT, "127.0.0.1", port),
            policy='version = 1\n[local]\nlisteners = "any"\n',
        )

    (connection,) = run.of("connection")
    assert connection["verdict"] == "violation"
    assert "outside the scope" in connection["reason"]
    assert allowed.end["connections"] == {"allowed": 1}
    assert opened.end["connections"] == {"local": 1}


# A wildcard listener of the scope must not lend its name to a relay behind it.
def test_a_scope_listener_beside_a_relay_does_not_hide_it(
    watched: Watch, network: Lab
) -> None:
    code = (
        "import socket, sys\n"
        "port = int(sys.argv[1])\n"
        "mine = socket.socket(socket.AF_INET6)\n"
        "mine.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)\n"
        "mine.bind(('::', port)); mine.listen()\n"
        "socket.create_connection(('127.0.0.1', port))\n"
    )
    with relay(network) as port:
        run = watched(PYTHON, "-c", code, port)

    (connection,) = run.of("connection")
    assert connection["verdict"] == "violation"


# IP_FREEBIND lets anybody bind an address that the machine does not have.
def test_binding_a_foreign_address_does_not_make_it_local(watched: Watch) -> None:
    code = (
        "import socket\n"
        "mine = socket.socket()\n"
        "mine.setsockopt(socket.IPPROTO_IP, 15, 1)\n"
        f"mine.bind(('{OTHER4}', 80)); mine.listen()\n"
        f"socket.create_connection(('{OTHER4}', 80))\n"
    )

    run = watched(PYTHON, "-c", code)

    (connection,) = run.of("connection")
    assert connection["verdict"] == "violation"


def test_a_refused_loopback_connect_is_local(watched: Watch) -> None:
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"

    run = watched(PYTHON, "-c", code)

    (connection,) = run.of("connection")
    assert connection["verdict"] == "local"
    assert connection["reason"] == "nothing listens there"


@pytest.mark.smoke
def test_a_packet_that_no_hook_announced_is_a_connection(watched: Watch) -> None:
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1);"
        rf"s.sendto(b'\x08\0\xf7\xff\0\0\0\0', ('{SERVER4}', 0))"
    )

    run = watched(PYTHON, "-c", code)

    (connection,) = run.of("connection")
    assert (connection["op"], connection["protocol"]) == ("packet", "icmp")
    assert connection["dst"] == {
        "ip": SERVER4, "port": None, "names": [], "sni": None, "translated": None,
    }  # fmt: skip
    assert "python" in connection["process"]["exe"]


def test_udp_lite_has_no_connect_hook_and_is_seen_all_the_same(watched: Watch) -> None:
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136);"
        f"s.connect(('{SERVER4}', {UDP_PORT})); s.send(b'x')"
    )

    run = watched(PYTHON, "-c", code)

    if "Protocol not supported" in run.stderr:  # Linux 7.3 has it no more
        assert not run.of("connection")
        return
    (connection,) = run.of("connection")
    assert (connection["op"], connection["protocol"]) == ("packet", "udplite")
    assert connection["dst"]["port"] == UDP_PORT


# A socket belongs to the cgroup in which it was made: the scope's hooks do not
# run for one that came from outside; those at the root do.
@pytest.mark.smoke
def test_an_inherited_socket_is_seen_as_foreign(watched: Watch) -> None:
    code = (
        "import socket, sys; s = socket.socket(fileno=int(sys.argv[1]));"
        "s.connect((sys.argv[2], 80))"
    )
    script = (
        "import os, socket, sys\n"
        "s = socket.socket(); os.set_inheritable(s.fileno(), True)\n"
        "os.execvp(sys.argv[1], sys.argv[1:] + "
        f"[sys.executable, '-c', {code!r}, str(s.fileno()), '{OTHER4}'])\n"
    )

    run = watched(through=(PYTHON, "-c", script))

    (connection,) = run.of("connection")
    assert connection["socket"] == "foreign"
    assert connection["dst"]["ip"] == OTHER4
    assert connection["verdict"] == "violation"


NO_ADDRESS = """
import socket
LISTENERS = [
    (family, kind, socket.socket(family, kind), address, peer)
    for family, address, peer in (
        (socket.AF_INET, "127.0.0.1", "0.0.0.0"),
        (socket.AF_INET6, "::1", "::"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "::ffff:0.0.0.0"),
    )
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
]
for family, kind, listener, address, peer in LISTENERS:
    listener.bind((address, 0))
    if kind == socket.SOCK_STREAM:
        listener.listen()
    there = peer, listener.getsockname()[1]
    with socket.socket(family, kind) as one:
        one.connect(there)
        for _ in range(2):
            one.send(b"x")
    if kind == socket.SOCK_DGRAM:
        with socket.socket(family, kind) as one:
            for _ in range(2):
                one.sendto(b"x", there)
    listener.close()
    with socket.socket(family, kind) as one:
        if not one.connect_ex(there):
            one.send(b"x")
"""


# The kernel puts an address of this machine in the place of none, after the hook.
@pytest.mark.smoke
def test_a_call_to_no_address_is_one_record(watched: Watch) -> None:
    run = watched(PYTHON, "-c", NO_ADDRESS)

    assert run.status == 0, run.stderr
    found = [(one["op"], one["dst"]["ip"]) for one in run.of("connection")]
    assert "0.0.0.0" not in {address for _, address in found}  # noqa: S104
    stream = [("connect", "127.0.0.1")] * 2
    datagram = [stream[0], ("send", "127.0.0.1"), stream[0]]
    newer = [(op, "::1") for op, _ in stream + datagram]
    assert found == [*stream, *datagram, *newer, *stream, *datagram]
    assert {one["verdict"] for one in run.of("connection")} == {"local"}
    assert {one["route"] for one in run.of("connection")} == {"python-socket"}
