"""Out of the cgroup is not out of sight; what is beyond is declared, or in doubt."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from egressmon.sensor.surroundings import Surroundings, look_around
from support.lab import CLIENT4, HTTP_PORT, OTHER4, SERVER4, UDP_PORT, Lab
from support.watching import Watched

Watch = Callable[..., Watched]
PYTHON = sys.executable


@pytest.fixture
def elsewhere() -> Generator[Path]:
    """A cgroup beside the scope's."""
    folder = find_root() / f"egm-outside-{os.getpid()}"
    folder.mkdir()
    yield folder
    folder.rmdir()


LEAVE = """
import os, socket, struct, sys
open(sys.argv[1] + '/cgroup.procs', 'w').write('0')
"""
RAW = f"""
r = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
r.sendto(struct.pack('!BBHHH', 8, 0, 0xf7fd, 1, 1), ('{OTHER4}', 0))
h = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
u = struct.pack('!HHHH', 4444, {UDP_PORT}, 9, 0) + b'x'
i = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(u), 1, 0, 64, 17, 0,
                socket.inet_aton('{CLIENT4}'), socket.inet_aton('{OTHER4}'))
h.sendto(i + u, ('{OTHER4}', 0))
"""


def test_raw_packets_from_another_cgroup_are_recorded(
    watched: Watch, elsewhere: Path
) -> None:
    run = watched(PYTHON, "-c", LEAVE + RAW, str(elsewhere))

    assert run.reached() == {
        ("packet", OTHER4, None, "violation"),
        ("packet", OTHER4, UDP_PORT, "violation"),
    }
    for connection in run.of("connection"):
        assert connection["socket"] == "foreign"
        assert "python" in connection["process"]["exe"]


def test_look_ups_from_another_cgroup_are_recorded_and_name(
    watched: Watch, elsewhere: Path
) -> None:
    code = (
        "import urllib.request as u\n"
        f"u.urlopen('http://four.example.test:{HTTP_PORT}/').read()\n"
    )

    run = watched(PYTHON, "-c", LEAVE + code, str(elsewhere))

    assert {one["name"] for one in run.of("dns")} == {"four.example.test"}
    assert all(one["trusted"] for one in run.of("dns", kind="A"))
    (page,) = [one for one in run.of("connection") if one["dst"]["port"] == HTTP_PORT]
    assert page["socket"] == "foreign"
    assert page["dst"]["names"][0]["name"] == "four.example.test"


# What is sent is counted as well as what the scope's own sockets send.
def test_foreign_packets_are_counted(watched: Watch, elsewhere: Path) -> None:
    code = (
        "s = socket.socket(type=socket.SOCK_DGRAM)\n"
        f"for _ in range(50): s.sendto(bytes(1000), ('{OTHER4}', {UDP_PORT}))\n"
    )

    run = watched(PYTHON, "-c", LEAVE + code, str(elsewhere))

    assert run.end["sent_bytes"] > 50 * 1000
    assert len(run.of("connection")) == 1


INHERIT = """
import os, socket, sys
kind, code = sys.argv[1], sys.argv[2]
s = socket.socket(type=socket.SOCK_STREAM if kind != 'udp' else socket.SOCK_DGRAM)
if kind == 'listener':
    s.bind(('0.0.0.0', 8098)); s.listen()
else:
    s.connect((sys.argv[3], int(sys.argv[4])))
os.set_inheritable(s.fileno(), True)
os.execvp(sys.argv[5], sys.argv[5:] + [sys.executable, '-c', code, str(s.fileno())])
"""
USE = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); "


@pytest.mark.parametrize(("kind", "port"), [("tcp", HTTP_PORT), ("udp", UDP_PORT)])
def test_a_connected_socket_that_is_inherited_is_seen_as_it_sends(
    watched: Watch, kind: str, port: int
) -> None:
    code = f"{USE} s.send(b'GET / HTTP/1.0\\r\\n\\r\\n')"
    through = (PYTHON, "-c", INHERIT, kind, code, OTHER4, str(port))

    run = watched(through=through)

    (connection,) = run.of("connection")
    assert run.reached() == {("packet", OTHER4, port, "violation")}
    assert (connection["socket"], connection["protocol"]) == ("foreign", kind)
    assert connection["process"] is None  # whoever holds it may have sent
    assert connection["process_reason"]


def test_a_connected_socket_that_is_only_held_sends_nothing(watched: Watch) -> None:
    through = (PYTHON, "-c", INHERIT, "tcp", "0", OTHER4, str(HTTP_PORT))

    run = watched(through=through)

    assert run.of("connection") == []
    assert run.end["verdict"] == "clean"


def test_what_an_inherited_listener_accepts_is_recorded(
    watched: Watch, network: Lab
) -> None:
    dial = (
        "import socket\n"
        f"s = socket.create_connection(('{CLIENT4}', 8098), 9, ('{OTHER4}', 0))\n"
        "print(s.recv(9))"
    )
    code = (
        f"{USE} import subprocess; "
        f"p = subprocess.Popen(['nsenter', '--net=/run/netns/{network.server}', "
        f"{PYTHON!r}, '-c', {dial!r}]); s.accept()[0].send(b'x'); p.wait()"
    )
    through = (PYTHON, "-c", INHERIT, "listener", code, "", "")

    run = watched(through=through)

    (accepted,) = [one for one in run.of("connection") if one["op"] == "accept"]
    assert accepted["dst"]["ip"] == OTHER4
    assert accepted["socket"] == "foreign"
    assert accepted["verdict"] == "violation"


# What sends, though no open file of the command's leads the probes to it.
HIDDEN = {
    "an MPTCP socket": """
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.connect((PEER, PORT))
""",
    "connections wait at a listener": """
s = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(s.getsockname())
""",
    "an io_uring": """
import ctypes
setup = 425  # on all architectures
fd = ctypes.CDLL(None).syscall(setup, 4, ctypes.create_string_buffer(120))
s = open(fd, "rb", 0)
""",
}
PASSED_ON = """
os.set_inheritable(s.fileno(), True)
os.execvp(sys.argv[1], sys.argv[1:] + ["true"])
"""


@pytest.mark.parametrize("name", HIDDEN)
def test_what_may_send_unseen_as_it_is_inherited_is_a_doubt(
    watched: Watch, name: str
) -> None:
    code = HIDDEN[name].replace("PEER", repr(OTHER4)).replace("PORT", str(HTTP_PORT))

    run = watched(through=(PYTHON, "-c", "import os, socket, sys" + code + PASSED_ON))

    assert run.end["verdict"] == "incomplete", run.stderr
    assert name in run.stderr


def _blind(run: Watched) -> set[str]:
    return {spot["name"] for spot in run.records[0]["blind_spots"]}


# A table of nftables, added and removed: a batch of netlink messages (nf_tables.h).
TABLE = """
import socket, struct
def message(kind, flags, family, resource, attributes=b""):
    body = struct.pack("!BBH", family, 0, resource) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body
name = struct.pack("=HH8s", 12, 1, b"egmtest")
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
for kind, flags in ((0, 0x405), (2, 5)):
    s.send(message(16, 1, 0, 10) + message(10 << 8 | kind, flags, 1, 0, name)
           + message(17, 1, 0, 10))
    print(s.recv(4096))
"""
CHANGES = {
    "a network device was added": "ip link add egm-vx type vxlan id 9 dstport 4789 "
    f"remote {OTHER4} dev wire && ip link del egm-vx",
    "a network device was removed": "ip link add egm-v type veth peer name egm-w && "
    "ip link del egm-v",
    "the address 10.99.0.1 was added": "ip addr add 10.99.0.1/32 dev lo && "
    "ip addr del 10.99.0.1/32 dev lo",
    "a route was added": "ip route add 10.98.0.0/24 dev wire && "
    "ip route del 10.98.0.0/24 dev wire",
    "a routing rule was removed": "ip rule add from 10.97.0.1 table 99 && "
    "ip rule del from 10.97.0.1 table 99",
    "a queueing discipline was added": "tc qdisc add dev wire root pfifo && "
    "tc qdisc del dev wire root",
    "nftables rules were changed": f"{PYTHON} -c '{TABLE}'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_that_changed_during_the_run_is_a_doubt(
    watched: Watch, change: str
) -> None:
    run = watched("sh", "-c", CHANGES[change])

    assert run.end["command_status"] == 0, run.stderr
    assert "kernel-networking" in _blind(run)
    assert (
        f"the network was changed during the run: {change}"
        in (run.end["incomplete_reasons"])
    )
    assert run.status == 121


def test_a_network_that_stays_as_it_is_raises_no_doubt(watched: Watch) -> None:
    run = watched("sh", "-c", f"ping -c1 -W1 {SERVER4}; ip addr; ip route")

    assert run.end["complete"] is True


# Another network namespace, of the command's own, is no way around anything here.
def test_a_namespace_of_the_commands_own_is_no_doubt(watched: Watch) -> None:
    run = watched("unshare", "--net", "ip", "link", "set", "lo", "up")

    assert run.end["complete"] is True


USER = 54329  # nobody's


def test_a_user_without_rights_has_company_or_not() -> None:
    alone = look_around(USER)
    words = ["setpriv", f"--reuid={USER}", "--clear-groups", "cat"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as bystander:
        assert bystander.stdin is not None
        assert bystander.stdout is not None
        bystander.stdin.write(b"x")
        bystander.stdin.flush()
        bystander.stdout.read(1)  # it runs as that user by now
        accompanied = look_around(USER)
        bystander.stdin.close()

    assert alone == Surroundings(may_change_network=False, same_user_runs=False)
    assert accompanied == Surroundings(may_change_network=False, same_user_runs=True)
    assert look_around(0) == Surroundings(may_change_network=True, same_user_runs=True)
