"""Local is what stays on this machine, by the kernel's word as it leaves."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.lab import OTHER4, UDP_PORT, Lab
from support.outside import outside
from support.watching import Json, Watched, until_recorded

Watch = Callable[..., Watched]
PYTHON = sys.executable
REUSEPORT, REUSEADDR = 15, 2

# A relay that shares its port with whoever asks: argv is option, type, device.
RELAY = """
import socket, sys
option, kind, device = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
server = socket.socket(socket.AF_INET, kind)
if option:
    server.setsockopt(socket.SOL_SOCKET, option, 1)
if device:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
server.bind(("127.0.0.1", 0))
if kind == socket.SOCK_STREAM:
    server.listen()
print(server.getsockname()[1], flush=True)
while True:
    server.accept()[0].close() if kind == socket.SOCK_STREAM else server.recv(9)
"""
TCP = "socket.create_connection(('127.0.0.1', P))"
UDP = "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', P))"
# Option, type and device of the relay; what a decoy does; how the port is then used.
DECOYS: dict[str, tuple[tuple[int, int, str], str, str]] = {
    "reuseport-that-never-listens": (
        (REUSEPORT, 1, ""),
        "d.setsockopt(1, 15, 1); d.bind(('127.0.0.1', P))",
        TCP,
    ),
    "reuseport-that-listens": (
        (REUSEPORT, 1, ""),
        "d.setsockopt(1, 15, 1); d.bind(('127.0.0.1', P)); d.listen()",
        TCP,
    ),
    "bound-to-another-device": (
        (0, 1, "lo"),
        "d.setsockopt(1, 25, b'wire'); d.bind(('127.0.0.1', P)); d.listen()",
        TCP,
    ),
    "reused-datagram-port": (
        (REUSEADDR, 2, ""),
        "u.setsockopt(1, 2, 1); u.bind(('127.0.0.1', P))",
        UDP,
    ),
    "reused-and-connected-elsewhere": (
        (REUSEADDR, 2, ""),
        "u.setsockopt(1, 2, 1); u.bind(('127.0.0.1', P)); u.connect(('127.0.0.1', 1))",
        UDP,
    ),
    # The packet says that it comes from the relay's address.
    "borrowed-source": (
        (0, 2, ""),
        """
u.bind(('127.0.0.2', P))
who = struct.pack('=i4s4x', 0, socket.inet_aton('127.0.0.1'))
u.sendmsg([b'x'], [(0, 8, who)], 0, ('127.0.0.2', P))
""",
        UDP,
    ),
}
USE = """
import socket, struct, sys
P = int(sys.argv[1])
d, u = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
{}
{}
"""


def to(run: Watched, ip: str, port: int) -> list[Json]:
    """Return the connections to ip and port."""
    return [
        one
        for one in run.of("connection")
        if (one["dst"]["ip"], one["dst"]["port"]) == (ip, port)
    ]


@pytest.mark.parametrize("name", DECOYS)
def test_no_decoy_makes_a_relay_the_scopes_own(
    watched: Watch, network: Lab, name: str
) -> None:
    (option, kind, device), decoy, use = DECOYS[name]
    code = USE.format(decoy, use)
    with outside(network, RELAY, str(option), str(kind), device) as relay:
        port = relay.says()
        run = watched(PYTHON, "-c", code, port, options=["--enforce", "fail"])

    # Two where the SYN was for one that shares the port, and another takes it up.
    connections = to(run, "127.0.0.1", int(port))
    assert len(connections) in {1, 2}, run.stderr
    for connection in connections:
        assert connection["verdict"] == "violation", run.stderr
        assert "outside the scope" in connection["reason"]
    assert run.status == 120


# The agent is stopped until all is over, as a busy machine would do.
STOPPED = """
import os, signal, socket, sys
at = ('127.0.0.1', int(sys.argv[1]))
os.kill(os.getppid(), signal.SIGSTOP)
try:
    {}
finally:
    os.kill(os.getppid(), signal.SIGCONT)
"""


def test_a_relay_that_closes_as_it_accepts_is_no_less_a_relay(
    watched: Watch, network: Lab
) -> None:
    relay_code = (
        "import socket\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "c = s.accept()[0]; s.close(); c.sendall(b'x'); c.recv(1)\n"
    )
    use = "s = socket.create_connection(at); s.recv(1); s.close()"
    with outside(network, relay_code) as relay:
        run = watched(PYTHON, "-c", STOPPED.format(use), relay.says())

    (connection,) = run.of("connection")
    assert connection["verdict"] == "violation"
    assert "outside the scope" in connection["reason"]


def test_a_refused_connect_stays_refused_when_somebody_listens_later(
    watched: Watch, network: Lab, tmp_path: Path
) -> None:
    go, up = tmp_path / "go", tmp_path / "up"
    os.mkfifo(go)
    os.mkfifo(up)
    listener = (
        "import socket, sys\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "open(sys.argv[1]).read(); s.listen(); open(sys.argv[2], 'w').close()\n"
        "s.accept()\n"
    )
    use = (
        "socket.socket().connect_ex(at); "
        "open(sys.argv[2], 'w').close(); open(sys.argv[3]).read()"
    )
    with outside(network, listener, str(go), str(up)) as later:
        port = later.says()
        run = watched(PYTHON, "-c", STOPPED.format(use), port, str(go), str(up))

    (connection,) = run.of("connection")
    assert connection["verdict"] == "local"
    assert connection["reason"] == "nothing listens there"


# A datagram by the loopback device, then one that leaves: again and again.
LO, ANY = "struct.pack('!I', 1)", "struct.pack('!I', 0)"
BY_LO = "[(0, 8, struct.pack('=i4s4s', 1, b'', b''))]"
CHANGES = {
    "unicast-if": (
        "",
        f"u.setsockopt(0, 50, {LO}); u.sendto(b'x', at)",
        f"u.setsockopt(0, 50, {ANY}); u.sendto(b'x', at)",
    ),
    "packet-info": (
        "",
        f"u.sendmsg([b'x'], {BY_LO}, 0, at)",
        "u.sendto(b'x', at)",
    ),
    "connected": ("u.connect(at)", f"u.sendmsg([b'x'], {BY_LO})", "u.send(b'x')"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_socket_that_changes_its_device_is_told_of_again_and_once(
    watched: Watch, name: str
) -> None:
    first, by_lo, leaves = CHANGES[name]
    code = (
        "import socket, struct\n"
        f"at = ('{OTHER4}', {UDP_PORT})\n"
        "u = socket.socket(type=socket.SOCK_DGRAM)\n"
        f"{first}\n"
        "for _ in range(9):\n"
        f"    {by_lo}\n"
        f"    {leaves}\n"
    )

    run = watched(PYTHON, "-c", code)

    made = run.of("connection")
    assert [one["dst"]["ip"] for one in made] == [OTHER4] * 2, run.stderr
    # By the loopback device: its error would be sent to an address of another one.
    assert "could not be determined" in made[0]["reason"]
    assert made[1]["reason"].startswith("no allow entry covers")
    # The last call that was told need not be the one that sent this.
    assert made[1]["module"] is None


# A port that the relay takes once the command has used it: argv is type, go, up.
LATER = """
import socket, sys
kind = int(sys.argv[1])
s = socket.socket(type=kind); s.bind(("127.0.0.1", 0)); at = s.getsockname(); s.close()
print(at[1], flush=True)
open(sys.argv[2]).read()
s = socket.socket(type=kind); s.setsockopt(1, 2, 1); s.bind(at)
if kind == socket.SOCK_STREAM:
    s.listen()
open(sys.argv[3], "w").close()
s.accept()[0].recv(9) if kind == socket.SOCK_STREAM else s.recv(9)
print("received", flush=True)
"""
WAIT = "open(sys.argv[2], 'w').close(); open(sys.argv[3]).read()"
TAKEN_OVER = {
    "nobody": (2, f"u.sendto(b'x', at); {WAIT}; u.sendto(b'x', at)", 1),
    "decoy": (
        2,
        (
            "d = socket.socket(type=2); d.bind(at); u.sendto(b'x', at); "
            f"d.close(); {WAIT}; u.sendto(b'x', at)"
        ),
        1,
    ),
    "connected": (
        2,
        (
            "d = socket.socket(type=2); d.bind(at); u.connect(at); u.send(b'x'); "
            f"d.close(); {WAIT}; u.send(b'x')"
        ),
        1,
    ),
    # A full queue drops the SYN, which the client sends again a second later.
    "repeated-syn": (
        1,
        (
            "d = socket.socket(); d.setsockopt(1, 2, 1); d.bind(at); d.listen(0); "
            "full = socket.create_connection(at); s = socket.socket(); "
            f"s.setblocking(False); s.connect_ex(at); d.close(); {WAIT}; "
            "s.settimeout(60); select.select([], [s], [], 60); s.sendall(b'x')"
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", TAKEN_OVER)
def test_a_relay_that_takes_a_port_over_is_told_of(
    watched: Watch, network: Lab, tmp_path: Path, name: str
) -> None:
    kind, use, before = TAKEN_OVER[name]
    go, up = tmp_path / "go", tmp_path / "up"
    os.mkfifo(go)
    os.mkfifo(up)
    code = (
        "import select, socket, sys\n"
        "at = ('127.0.0.1', int(sys.argv[1]))\n"
        f"u = socket.socket(type=2)\n{use}\n"
    )
    with outside(network, LATER, str(kind), str(go), str(up)) as relay:
        run = watched(PYTHON, "-c", code, relay.says(), str(go), str(up))
        assert relay.says() == "received"

    made = run.of("connection")
    assert [one["verdict"] for one in made] == ["local"] * before + ["violation"]
    assert "outside the scope" in made[-1]["reason"]
    assert run.end["verdict"] != "clean"


# Half-open connections, whose peers drop what answers them (IP_MINTTL), fill the queue
# of a listener, which takes cookies from then on; its RST is dropped the same way.
COOKIES = """
import socket, struct, sys
def half_open(at, count):
    made = []
    for _ in range(count):
        one = socket.socket()
        one.setsockopt(0, 21, 255)
        one.setblocking(False)
        one.connect_ex(at)
        made.append(one)
    return made
"""
HANDED_OVER = f"""{COOKIES}
at = ("127.0.0.1", int(sys.argv[1]))
listener = socket.socket(); listener.setsockopt(1, 2, 1)
listener.bind(at); listener.listen(1)
half = half_open(at, 3)
client = socket.socket(); client.setsockopt(1, 8, 4096); client.connect(at)
server = listener.accept()[0]
client.sendall(b"1" * 3000); server.recv(3000, socket.MSG_WAITALL)
server.sendall(b"1" * 3000); client.recv(3000, socket.MSG_PEEK | socket.MSG_WAITALL)
client.setsockopt(0, 21, 255)
server.setsockopt(1, 13, struct.pack("ii", 1, 0)); server.close(); listener.close()
for one in half:
    one.close()
{WAIT}
if sys.argv[4] == "bare":
    client.recv(3000, socket.MSG_WAITALL)
    open(sys.argv[5]).read()
if sys.argv[4] == "end":
    client.shutdown(socket.SHUT_WR)
else:
    client.send(b"x" * 9)
client.settimeout(30)
client.recv(3001, socket.MSG_WAITALL)
"""
TAKES_OVER = f"""{COOKIES}
s = socket.socket(); s.bind(("127.0.0.1", 0)); at = s.getsockname(); s.close()
print(at[1], flush=True)
open(sys.argv[1]).read()
listener = socket.socket(); listener.setsockopt(1, 2, 1)
listener.bind(at); listener.listen(1)
half = half_open(at, 4)
listener.setsockopt(0, 2, 255)
open(sys.argv[2], "w").close()
taken = listener.accept()[0]
taken.setsockopt(0, 2, 255)
if len(sys.argv) > 3:
    open(sys.argv[3], "w").close()
print("data" if taken.recv(9) else "end", flush=True)
"""


@pytest.mark.parametrize("by", ["data", "end", "bare"])
def test_a_connection_that_a_cookie_hands_to_a_relay_is_told_of(
    watched: Watch, network: Lab, tmp_path: Path, by: str
) -> None:
    # Bare: what acknowledges without data, as a window opens, and the data come after.
    pipes = [
        tmp_path / name for name in ("go", "up", "taken")[: 3 if by == "bare" else 2]
    ]
    for pipe in pipes:
        os.mkfifo(pipe)
    go, up, *taken = map(str, pipes)
    with outside(network, TAKES_OVER, go, up, *taken) as relay:
        run = watched(PYTHON, "-c", HANDED_OVER, relay.says(), go, up, by, *taken)
        assert relay.says() == ("end" if by == "end" else "data"), run.stderr

    made = run.of("connection", verdict="violation")
    assert "outside the scope" in made[-1]["reason"], run.stderr
    assert run.end["verdict"] == "violations"


# A cookie is known by the difference of a packet's two numbers, and what is sent moves
# that of any connection to it. It is the same for each connection between two ports.
GROWN = f"""{COOKIES}
import threading
at = ("127.0.0.1", int(sys.argv[1]))
raw = socket.socket(2, socket.SOCK_RAW, 6)
SIZE = 1 << 20
def connected(count):
    listener = socket.socket(); listener.setsockopt(1, 2, 1)
    listener.bind(at); listener.listen(1)
    half = half_open(at, count)
    client = socket.socket(); client.setsockopt(1, 2, 1)
    client.bind(("127.0.0.1", OWN)); client.connect(at)
    return client, listener.accept()[0], listener, half
def begins_with():
    while True:
        packet = raw.recv(99)
        source, target, sequence, answered = struct.unpack_from("!HHII", packet, 20)
        if (source, target) == (at[1], OWN) and packet[33] == 0x12:
            return sequence - answered
def move(source, target, left):
    def send():
        rest = left
        while rest:
            rest -= source.send(bytes(min(rest, SIZE)))
    thread = threading.Thread(target=send); thread.start()
    while left:
        left -= len(target.recv(min(left, SIZE)))
    thread.join()
def reset(*sockets):
    for one in sockets:
        one.setsockopt(1, 13, struct.pack("ii", 1, 0)); one.close()
with socket.create_server(("127.0.0.1", 0)) as free:
    OWN = free.getsockname()[1]
client, server, listener, half = connected(3)
cookie = begins_with()
reset(client, server, listener, *half)
client, server, listener, _ = connected(0)
missing = (cookie - begins_with()) % 2**32
raw.close()
if missing < 2**31:
    move(server, client, missing)
else:
    move(client, server, 2**32 - missing)
client.setsockopt(0, 21, 255)
reset(server, listener)
{WAIT}
client.send(b"x" * 9)
client.settimeout(30)
client.recv(1)
"""


def test_a_connection_that_grows_to_a_cookie_is_told_of(
    watched: Watch, network: Lab, tmp_path: Path
) -> None:
    go, up = (str(tmp_path / name) for name in ("go", "up"))
    os.mkfifo(go)
    os.mkfifo(up)
    with outside(network, TAKES_OVER, go, up) as relay:
        run = watched(PYTHON, "-c", GROWN, relay.says(), go, up)
        assert relay.says() == "data", run.stderr

    (made,) = run.of("connection", verdict="violation")
    assert "outside the scope" in made["reason"], run.stderr


# Two sockets that connect to each other: neither listens, and nobody accepts. A full
# queue drops the first SYN (or what answers it is dropped), so that the client waits.
CONNECTED_TO = """
import socket, sys
at = ("127.0.0.1", int(sys.argv[1]))
client = socket.socket(); client.bind(("127.0.0.1", 0)); client.setblocking(False)
client.setsockopt(0, 21, 255)
if sys.argv[4] == "scope":
    listener = socket.socket(); listener.setsockopt(1, 2, 1)
    listener.bind(at); listener.listen(0)
    full = socket.create_connection(at)
    client.connect_ex(at); listener.close()
else:
    client.connect_ex(at)
print(client.getsockname()[1], file=open(sys.argv[2], "w")); open(sys.argv[3]).read()
client.settimeout(60); client.send(b"x"); client.recv(9)
"""
CONNECTS_BACK = """
import socket, sys
s = socket.socket(); s.bind(("127.0.0.1", 0)); at = s.getsockname(); s.close()
print(at[1], flush=True)
port = int(open(sys.argv[1]).read())
s = socket.socket(); s.setsockopt(1, 2, 1); s.setsockopt(0, 2, 255); s.bind(at)
s.connect(("127.0.0.1", port))
open(sys.argv[2], "w").close()
print("data" if s.recv(9) else "end", flush=True)
"""


@pytest.mark.parametrize("first", ["scope", "nobody"])
def test_a_relay_that_connects_to_who_connects_to_it_is_told_of(
    watched: Watch, network: Lab, tmp_path: Path, first: str
) -> None:
    go, up = (str(tmp_path / name) for name in ("go", "up"))
    os.mkfifo(go)
    os.mkfifo(up)
    with outside(network, CONNECTS_BACK, go, up) as relay:
        run = watched(PYTHON, "-c", CONNECTED_TO, relay.says(), go, up, first)
        assert relay.says() == "data", run.stderr

    (made,) = run.of("connection", verdict="violation")
    assert "outside the scope" in made["reason"], run.stderr


def test_listeners_that_take_connections_over_are_a_doubt(
    watched: Watch, network: Lab
) -> None:
    switch = [*network.enter(), "sysctl", "-qw"]
    subprocess.run([*switch, "net.ipv4.tcp_migrate_req=1"], check=True)
    try:
        run = watched("true")
    finally:
        subprocess.run([*switch, "net.ipv4.tcp_migrate_req=0"], check=True)

    assert run.status == 121
    assert "tcp_migrate_req is on" in run.end["incomplete_reasons"][0]


CONNECT = "import socket, sys; socket.socket().connect_ex((sys.argv[1], 8999))"


def test_an_address_is_local_only_while_the_machine_has_it(watched: Watch) -> None:
    connect = f"{PYTHON} -c '{CONNECT}' {OTHER4}"
    script = (
        f"{connect}; ip addr add {OTHER4}/32 dev lo; {connect}; "
        f"ip addr del {OTHER4}/32 dev lo; {connect}"
    )

    run = watched("sh", "-c", script)

    verdicts = [one["verdict"] for one in run.of("connection")]
    assert verdicts == ["violation", "local", "violation"], run.stderr


OWN_SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], 0))
socket.create_connection((sys.argv[1], server.getsockname()[1]))
"""


def test_an_address_that_is_added_during_the_run_is_local(watched: Watch) -> None:
    script = (
        f"{PYTHON} -c '{CONNECT}' {OTHER4};"
        f"ip addr add 10.213.7.77/32 dev lo && {PYTHON} -c '{OWN_SERVER}' 10.213.7.77;"
        "ip addr del 10.213.7.77/32 dev lo"
    )

    run = watched("sh", "-c", script)

    own = [one for one in run.of("connection") if one["dst"]["ip"] == "10.213.7.77"]
    assert [one["verdict"] for one in own] == ["local"], run.stderr


@pytest.mark.parametrize("address", ["10.9.8.7", "fd00:9::7", "127.0.0.1"])
def test_an_own_address_in_a_namespace_of_the_scopes_own_is_local(
    watched: Watch, address: str
) -> None:
    bits = 128 if ":" in address else 32
    server = OWN_SERVER.replace(
        "create_server((sys.argv[1], 0))",
        f"create_server((sys.argv[1], 0), family={10 if ':' in address else 2})",
    )
    script = (
        f"ip link set lo up; ip addr add {address}/{bits} dev lo nodad 2>/dev/null; "
        f"exec {PYTHON} -c '{server}' {address}"
    )

    run = watched("unshare", "--net", "sh", "-c", script)

    assert [one["verdict"] for one in run.of("connection")] == ["local"], run.stderr
    assert run.end["verdict"] == "clean"


def test_loopback_that_is_routed_off_the_machine_is_not_local(watched: Watch) -> None:
    script = (
        "ip link set lo up; ip link add off type veth peer name far; "
        "ip link set off up; ip link set far up; "
        "ip addr add 10.9.8.7/24 dev off; "
        "ip route del local 127.0.0.0/8 dev lo table local; "
        "ip route add 127.0.0.0/8 dev off; "
        f'exec {PYTHON} -c "import socket; s = socket.socket(type=2);'
        " s.bind(('10.9.8.7', 0)); s.sendto(b'x', ('127.1.2.3', 9))\""
    )

    run = watched("unshare", "--net", "sh", "-c", script)

    (connection,) = to(run, "127.1.2.3", 9)
    assert connection["verdict"] == "violation"


def test_a_listener_that_was_never_bound_is_the_scopes(watched: Watch) -> None:
    code = (
        "import socket\n"
        "s = socket.socket(); s.listen()\n"
        "socket.create_connection(('127.0.0.1', s.getsockname()[1]))\n"
    )

    run = watched(PYTHON, "-c", code)

    (connection,) = run.of("connection")
    assert connection["verdict"] == "local"
    assert connection["reason"] == "a listener inside the scope"


def test_a_shared_port_of_the_scope_alone_is_the_scopes(
    watched: Watch, tmp_path: Path
) -> None:
    code = (
        "import socket\n"
        "s = [socket.create_server(('127.0.0.1', 0), reuse_port=True)]\n"
        "at = s[0].getsockname()\n"
        "s += [socket.create_server(at, reuse_port=True) for _ in range(3)]\n"
        "u = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]\n"
        "for one in u: one.setsockopt(1, 2, 1); one.bind(at)\n"
        "for _ in range(20): socket.create_connection(at)\n"
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', at)\n"
    )  # who shares the port is asked while the sockets are still there

    run = watched(PYTHON, "-c", code + until_recorded(tmp_path, 21))

    assert run.end["connections"] == {"local": 21}, run.stderr


@pytest.fixture
def elsewhere() -> Generator[Path]:
    """A cgroup beside the scope's."""
    folder = find_root() / f"egm-elsewhere-{os.getpid()}"
    folder.mkdir()
    yield folder
    folder.rmdir()


def leave(folder: Path, code: str) -> str:
    """Return code that first leaves the scope's cgroup for folder."""
    return f"open('{folder}/cgroup.procs', 'w').write('0')\nimport socket\n{code}"


def test_who_left_the_cgroup_still_listens_inside_the_scope(
    watched: Watch, elsewhere: Path
) -> None:
    code = (
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(s.getsockname())\n"
        "s = socket.socket(); s.listen()\n"
        "socket.create_connection(('127.0.0.1', s.getsockname()[1]))\n"
    )

    run = watched(PYTHON, "-c", leave(elsewhere, code))

    made = run.of("connection")
    assert [one["socket"] for one in made] == ["foreign", "foreign"]
    assert {one["reason"] for one in made} == {"a listener inside the scope"}


def test_a_foreign_datagram_connect_that_never_sends_is_no_egress(
    watched: Watch, elsewhere: Path
) -> None:
    code = (
        "s = socket.socket(type=socket.SOCK_DGRAM)\n"
        f"s.connect(('{OTHER4}', {UDP_PORT}))\n"
        "t = socket.socket(type=socket.SOCK_DGRAM)\n"
        f"t.connect(('{OTHER4}', {UDP_PORT + 1})); t.send(b'x')\n"
    )

    run = watched(PYTHON, "-c", leave(elsewhere, code))

    assert run.reached() == {("connect", OTHER4, UDP_PORT + 1, "violation")}


# No route: no packet ever leaves, and the attempt is a connection all the same.
@pytest.mark.parametrize(
    ("code", "op"),
    [
        ("s = socket.socket(); s.connect_ex(at); s.close()", "connect"),
        ("s = socket.socket(); s.connect_ex(at)\nos._exit(0)", "connect"),
        (
            "s = socket.socket(type=2)\ntry: s.sendto(b'x', at)\nexcept OSError: 0",
            "send",
        ),
    ],
)
def test_an_attempt_without_a_packet_is_recorded(
    watched: Watch, code: str, op: str
) -> None:
    run = watched(PYTHON, "-c", f"import os, socket\nat = ('198.18.0.1', 443)\n{code}")

    assert run.reached() == {(op, "198.18.0.1", 443, "violation")}
    (connection,) = run.of("connection")
    assert connection["process"]["exe"]
    has_frames = "python-frames" not in run.blind_spots  # BCC reads none
    assert bool(connection["code"]) == has_frames


# What fails on the way must not stand for what is sent afterwards.
def test_a_failed_send_hides_no_other_peer_of_its_socket(watched: Watch) -> None:
    code = (
        "import socket\n"
        "s = socket.socket(type=2)\n"
        f"s.connect(('{OTHER4}', 9001))\n"
        "try: s.sendto(b'x', ('198.18.0.1', 443))\n"
        "except OSError: pass\n"
        f"s.sendto(b'x', ('{OTHER4}', 9002)); s.send(b'x')\n"
    )

    run = watched(PYTHON, "-c", code)

    assert run.reached() == {
        ("send", "198.18.0.1", 443, "violation"),
        ("send", OTHER4, 9002, "violation"),
        ("connect", OTHER4, 9001, "violation"),
    }


def test_no_address_is_one_connection_to_this_machine(watched: Watch) -> None:
    code = (
        "import socket\n"
        "s = socket.create_server(('127.0.0.1', 0)); p = s.getsockname()[1]\n"
        "socket.create_connection(('0.0.0.0', p))\n"
        "u = socket.socket(type=2); u.bind(('127.0.0.1', 0))\n"
        "socket.socket(type=2).sendto(b'x', ('0.0.0.0', u.getsockname()[1]))\n"
    )

    run = watched(PYTHON, "-c", code)

    assert [one["dst"]["ip"] for one in run.of("connection")] == ["127.0.0.1"] * 2
    assert run.end["connections"] == {"local": 2}


CROWD = """
import socket
crowd = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(1500)]
for one in crowd: one.bind(("127.0.0.1", 0))
print("ready", flush=True)
input()
"""
CLOSED = """
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
for port in range(100, {}): s.sendto(b"x", ("127.0.0.1", port))
"""


def test_closed_ports_beside_a_crowd_of_sockets_cost_no_time(
    watched: Watch, network: Lab
) -> None:
    with outside(network, CROWD) as crowd:
        assert crowd.says() == "ready"
        one = watched(PYTHON, "-c", CLOSED.format(101))
        many = watched(PYTHON, "-c", CLOSED.format(700))

    assert many.end["connections"] == {"local": 600}
    assert many.end["duration_ms"] < one.end["duration_ms"] + 3000
