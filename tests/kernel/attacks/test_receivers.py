"""Others than the scope receive what no look-up at a packet's target finds."""

import os
import select
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.lab import CLIENT4, CLIENT6, Lab
from support.outside import outside
from support.watching import Watched

Watch = Callable[..., Watched]
PYTHON = sys.executable

SHARED = """
import os, select, socket, struct, sys
LOCAL, OTHER = socket.inet_aton("127.0.0.1"), "127.0.0.2"
UDP = socket.SOCK_DGRAM
def option(kind, *options, level=socket.SOL_SOCKET, protocol=0):
    one = socket.socket(socket.AF_INET, kind, protocol)
    for name, value in options:
        one.setsockopt(level, name, value)
    return one
def bound(kind, at, *options, **how):
    one = option(kind, *options, **how)
    one.bind(at)
    return one
def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xffff)
    return struct.pack("!H", ~total & 0xffff)
def icmp(kind, code, rest):  # RFC 792
    data = struct.pack("!BBH", kind, code, 0) + rest
    return data[:2] + checksum(data) + data[4:]
def internet(protocol, data, fragment=0):  # RFC 791
    return struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, fragment, 64, protocol, 0,
        LOCAL, LOCAL,
    ) + data
# The source address that a packet has, whatever its socket is bound to.
FROM_LOCAL = [(0, 8, struct.pack("=i4s4x", 0, LOCAL))]  # IP_PKTINFO
REUSEADDR, REUSEPORT, BROADCAST = (2, 1), (15, 1), (6, 1)
"""
BOUND_TO_DEVICE = f"""
OWN, OWN6 = "{CLIENT4}", "{CLIENT6}"
TO_DEVICE = socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wire"
"""
# What a relay does with its socket, in the end.
RECEIVES = "relay.settimeout(60); print(relay.recv(999), flush=True)"
HEARS_ERRORS = """
relay.setsockopt(0, 11, 1)  # IP_RECVERR
waits = select.poll(); waits.register(relay, select.POLLERR); waits.poll(60_000)
print(relay.recvmsg(999, 999, socket.MSG_ERRQUEUE)[0], flush=True)
"""
# For each: the relay, and what the command does, whose argv is what the relay said.
WAYS: dict[str, tuple[str, str]] = {
    "a segment that is forged into a connection of the relay": (
        """
server = socket.create_server(("127.0.0.1", 0)); port = server.getsockname()[1]
seen = socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)
client = socket.create_connection(("127.0.0.1", port)); relay = server.accept()[0]
server.close()
client.send(b"b"); relay.recv(1)
while True:
    packet = seen.recv(99)
    source, target, sequence, answered = struct.unpack_from("!HHII", packet, 20)
    if target == port and packet[-1:] == b"b" and len(packet) > 52:
        break
print(port, client.getsockname()[1], sequence + 1, answered, flush=True)
"""
        + RECEIVES,
        """
port, source, sequence, answered = map(int, sys.argv[1].split())
decoy = bound(socket.SOCK_STREAM, ("127.0.0.1", port), REUSEADDR); decoy.listen()
data = struct.pack(
    "!HHIIBBHHH", source, port, sequence, answered, 0x50, 0x18, 512, 0, 0
) + b"SECRET"
sum_of = checksum(LOCAL + LOCAL + struct.pack("!BBH", 0, 6, len(data)) + data)
data = data[:16] + sum_of + data[18:]
socket.socket(socket.AF_INET, socket.SOCK_RAW, 6).sendto(data, ("127.0.0.1", 0))
""",
    ),
    "fragments, whose receiver changes between them": (
        """
first = bound(UDP, ("127.0.0.1", 0)); at = first.getsockname(); first.close()
print(at[1], flush=True)
open(sys.argv[1]).read()
relay = bound(UDP, at)
open(sys.argv[2], "w").close()
"""
        + RECEIVES,
        """
port = int(sys.argv[1])
decoy = bound(UDP, ("127.0.0.1", port))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
rest = b"x" * 8 + b"SECRET"
first = struct.pack("!HHHH", 999, port, 8 + len(rest), 0)
raw.sendto(internet(17, first, 1 << 13), ("127.0.0.1", 0))
decoy.close()
open(sys.argv[2], "w").close(); open(sys.argv[3]).read()
raw.sendto(internet(17, rest, 1), ("127.0.0.1", 0))
""",
    ),
    "a datagram to a closed port, quoted to its source": (
        """
relay = bound(UDP, ("127.0.0.1", 0), REUSEADDR)
print(relay.getsockname()[1], flush=True)
"""
        + HEARS_ERRORS,
        """
none = bound(UDP, ("127.0.0.1", 0)); closed = none.getsockname(); none.close()
sender = bound(UDP, (OTHER, int(sys.argv[1])))
sender.sendmsg([b"SECRET" * 20], FROM_LOCAL, 0, closed)
""",
    ),
    "an error that quotes what it likes": (
        """
relay = bound(UDP, ("127.0.0.1", 0), REUSEADDR)
print(relay.getsockname()[1], flush=True)
"""
        + HEARS_ERRORS,
        """
quoted = internet(17, struct.pack("!HHHH", int(sys.argv[1]), 999, 14, 0) + b"SECRET")
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
raw.sendto(icmp(3, 3, bytes(4) + quoted), ("127.0.0.1", 0))
""",
    ),
    "a ping whose number is shared": (
        """
relay = bound(UDP, ("127.0.0.1", 0), REUSEADDR, protocol=1)
print(relay.getsockname()[1], flush=True)
"""
        + RECEIVES,
        """
sender = bound(UDP, (OTHER, int(sys.argv[1])), REUSEADDR, protocol=1)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
sender.sendmsg([icmp(8, 0, bytes(4) + b"SECRET")], FROM_LOCAL, 0, ("127.0.0.1", 0))
""",
    ),
    "a reply to a ping that was never sent": (
        """
relay = bound(UDP, ("127.0.0.1", 0), protocol=1)
print(relay.getsockname()[1], flush=True)
"""
        + RECEIVES,
        """
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
reply = icmp(0, 0, struct.pack("!HH", int(sys.argv[1]), 1) + b"SECRET")
raw.sendto(reply, ("127.0.0.1", 0))
""",
    ),
    "multicast": (
        """
relay = bound(UDP, ("0.0.0.0", 0), REUSEPORT)
relay.setsockopt(0, 35, socket.inet_aton("239.1.1.1") + LOCAL)  # IP_ADD_MEMBERSHIP
print(relay.getsockname()[1], flush=True)
"""
        + RECEIVES,
        """
port = int(sys.argv[1])
decoy = bound(UDP, ("239.1.1.1", port), REUSEPORT)
sender = bound(UDP, ("127.0.0.1", 0))
sender.setsockopt(0, 32, LOCAL)  # IP_MULTICAST_IF
sender.sendto(b"SECRET", ("239.1.1.1", port))
""",
    ),
    "broadcast": (
        """
relay = bound(UDP, ("0.0.0.0", 0), REUSEPORT)
print(relay.getsockname()[1], flush=True)
"""
        + RECEIVES,
        """
port = int(sys.argv[1])
decoy = bound(UDP, ("127.255.255.255", port), REUSEPORT)
decoy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
bound(UDP, ("127.0.0.1", 0), BROADCAST).sendto(b"SECRET", ("127.255.255.255", port))
""",
    ),
    "a listener that is bound to the address's own device": (
        BOUND_TO_DEVICE
        + """
server = socket.socket(); server.setsockopt(*TO_DEVICE); server.bind((OWN, 0))
server.listen(); print(server.getsockname()[1], flush=True)
relay = server.accept()[0]
"""
        + RECEIVES,
        BOUND_TO_DEVICE
        + 'socket.create_connection((OWN, int(sys.argv[1]))).send(b"SECRET")',
    ),
    "a socket that is bound to the address's own device, beside one of the scope": (
        BOUND_TO_DEVICE
        + """
relay = socket.socket(type=UDP); relay.setsockopt(*TO_DEVICE); relay.bind((OWN, 0))
print(relay.getsockname()[1], flush=True)
"""
        + RECEIVES,
        BOUND_TO_DEVICE
        + """
port = int(sys.argv[1])
decoy = socket.socket(type=UDP)
decoy.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
decoy.bind((OWN, port))
bound(UDP, ("0.0.0.0", 0)).sendto(b"SECRET", (OWN, port))
""",
    ),
    "an IPv6 socket that is bound to the address's own device": (
        BOUND_TO_DEVICE
        + """
server = socket.socket(socket.AF_INET6); server.setsockopt(*TO_DEVICE)
server.bind((OWN6, 0)); server.listen(); print(server.getsockname()[1], flush=True)
relay = server.accept()[0]
"""
        + RECEIVES,
        BOUND_TO_DEVICE
        + 'socket.create_connection((OWN6, int(sys.argv[1]))).send(b"SECRET")',
    ),
    "UDP-Lite, to one that is gone at once": (
        """
relay = bound(UDP, ("127.0.0.1", 0), protocol=136)
print(relay.getsockname()[1], flush=True)
"""
        + RECEIVES
        + "\nrelay.close()",
        """
sender = option(UDP, protocol=136)
sender.sendto(b"SECRET", ("127.0.0.1", int(sys.argv[1])))
""",
    ),
    "one of a group that is gone at once": (
        """
relay = bound(UDP, ("127.0.0.1", 0), REUSEPORT)
print(relay.getsockname()[1], flush=True)
"""
        + RECEIVES
        + "\nrelay.close()",
        """
import ctypes
port = int(sys.argv[1])
decoy = bound(UDP, ("127.0.0.1", port), REUSEPORT)
code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
program = struct.pack("@HP", 1, ctypes.addressof(code))
decoy.setsockopt(socket.SOL_SOCKET, 51, program)  # SO_ATTACH_REUSEPORT_CBPF
bound(UDP, ("127.0.0.1", 0)).sendto(b"SECRET", ("127.0.0.1", port))
""",
    ),
    "a group whose members take their bits back": (
        """
relay = bound(UDP, ("127.0.0.1", 0), REUSEPORT)
print(relay.getsockname()[1], flush=True)
"""
        + RECEIVES,
        """
import ctypes
port = int(sys.argv[1])
decoys = [bound(UDP, ("127.0.0.1", port), REUSEPORT) for _ in range(15)]
# SO_ATTACH_REUSEPORT_CBPF: "return 0", which is the relay. A look-up goes by a hash.
code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
program = struct.pack("@HP", 1, ctypes.addressof(code))
decoys[0].setsockopt(socket.SOL_SOCKET, 51, program)
for decoy in decoys[:-1]:  # the last one is found first, and leads to the group
    decoy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
bound(UDP, ("127.0.0.1", 0)).sendto(b"SECRET", ("127.0.0.1", port))
""",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_another_receives_than_is_found_at_its_target_is_not_local(
    watched: Watch, network: Lab, tmp_path: Path, way: str
) -> None:
    relay_code, command = WAYS[way]
    pipes = [str(tmp_path / name) for name in ("go", "up")]
    for pipe in pipes:
        os.mkfifo(pipe)
    pings = "net.ipv4.ping_group_range"  # so that there are sockets for pings alone
    switch = [*network.enter(), "sysctl", "-qw"]
    subprocess.run([*switch, f"{pings}=0 2147483647"], check=True)
    try:
        with outside(network, SHARED + relay_code, *pipes) as relay:
            run = watched(PYTHON, "-c", SHARED + command, relay.says(), *pipes)
            assert "SECRET" in relay.says(), run.stderr
    finally:
        subprocess.run([*switch, f"{pings}=1 0"], check=True)

    assert run.end["verdict"] == "violations", run.stderr


@pytest.mark.parametrize(
    "command",
    [
        "s = bound(UDP, ('127.0.0.1', 0)); s.sendto(b'x', s.getsockname())",
        BOUND_TO_DEVICE + "s = bound(UDP, (OWN, 0)); s.sendto(b'x', s.getsockname()); "
        "t = socket.create_server(('::', 0), family=socket.AF_INET6); "
        "socket.create_connection((OWN6, t.getsockname()[1])).send(b'x')",
        "s = bound(UDP, ('127.0.0.3', 0)); s.sendto(b'x', s.getsockname())",
        "s = bound(UDP, ('127.0.0.1', 0)); s.sendto(b'x', ('127.0.0.1', 9))",
    ],
    ids=[
        "to itself",
        "by its own addresses",
        "to an address that ends like a broadcast one",
        "to a closed port",
    ],
)
def test_what_only_the_scope_can_hear_is_local(watched: Watch, command: str) -> None:
    run = watched(PYTHON, "-c", SHARED + command)

    assert set(run.end["connections"]) == {"local"}, run.stderr


# Who made a socket and keeps it: one end of a connection, or all that it is used for.
KEPT_END = '''
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
ends = socket.create_connection(listener.getsockname()), listener.accept()[0]
listener.close()
given, kept = ends if sys.argv[2] == "client" else ends[::-1]
given.set_inheritable(True)
if os.fork():
    kept.close()
    use = """
import socket, sys
s = socket.socket(fileno=int(sys.argv[1])); s.send(b'SECRET')
print(open(sys.argv[2]).read())
"""
    run = [*sys.argv[3:], sys.executable, "-c", use, str(given.fileno()), sys.argv[1]]
    os.execvp(run[0], run)
given.close()
kept.settimeout(30)
open(sys.argv[1], "wb").write(kept.recv(9))
'''
KEPT_SOCKET = '''
import os, select, socket, sys
kind = int(sys.argv[2])
s = socket.socket(type=kind)
s.set_inheritable(True)
if os.fork():
    use = f"""import socket, sys
s = socket.socket(fileno=int(sys.argv[1])); s.bind(("127.0.0.1", 0))
if {kind} == 1: s.listen()
c = socket.socket(type={kind}); c.connect(s.getsockname()); c.send(b"SECRET")
print(open(sys.argv[2]).read())
"""
    run = [*sys.argv[3:], sys.executable, "-c", use, str(s.fileno()), sys.argv[1]]
    os.execvp(run[0], run)
while True:
    waits = select.poll(); waits.register(s, select.POLLIN)
    waits.poll(60_000)
    try:
        got = (s.accept()[0] if kind == 1 else s).recv(9)
    except OSError:  # it does not listen yet, which poll() takes for an event
        continue
    open(sys.argv[1], "wb").write(got)
    break
'''


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (KEPT_END, "client"),
        (KEPT_END, "server"),
        (KEPT_SOCKET, "1"),
        (KEPT_SOCKET, "2"),
    ],
    ids=["client", "server", "listener", "datagrams"],
)
def test_what_goes_to_a_socket_that_its_maker_kept_is_no_local_traffic(
    watched: Watch, tmp_path: Path, code: str, how: str
) -> None:
    got = tmp_path / "got"
    os.mkfifo(got)  # so that what is watched waits for its reader, and shows the end

    run = watched(through=(PYTHON, "-c", code, str(got), how))

    assert "SECRET" in run.stdout, run.stderr
    assert run.end["verdict"] == "violations", run.stderr
    assert "outside the scope" in run.of("connection")[0]["reason"]


# As in a container: only a part of the cgroup hierarchy is visible, at its own root.
PART = """
mkdir -p {0} && echo $$ >{0}/cgroup.procs || exit
exec unshare --cgroup --mount sh -c '
umount -l {1}; mount -t cgroup2 none {1} && exec "$@"' sh "$@"
"""


@pytest.fixture
def part_of_the_hierarchy() -> Generator[tuple[str, ...]]:
    """Return a command line's beginning that runs the rest in a cgroup namespace."""
    root = find_root()
    path = root / f"part_for_egressmon_{os.getpid()}"
    yield ("sh", "-c", PART.format(path, root), "sh")
    # A process may leave its cgroup a moment after it was waited for.
    with (path / "cgroup.events").open() as events:
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        while "populated 1" in events.read():
            assert poller.poll(10_000)
            events.seek(0)
    path.rmdir()


# Those outside the part run no probe as they receive.
def test_in_a_cgroup_namespace_what_may_be_anothers_is(
    watched: Watch, network: Lab, part_of_the_hierarchy: tuple[str, ...]
) -> None:
    relay_code, command = WAYS["a listener that is bound to the address's own device"]
    with outside(network, SHARED + relay_code) as relay:
        run = watched(
            *(PYTHON, "-c", SHARED + command, relay.says()),
            through=part_of_the_hierarchy,
        )

    assert "cgroup-namespace" in run.blind_spots
    assert run.end["verdict"] == "violations", run.stderr


def test_in_a_cgroup_namespace_the_scopes_own_is_known(
    watched: Watch, part_of_the_hierarchy: tuple[str, ...]
) -> None:
    command = (
        "s = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(s.getsockname()).send(b'x'); "
        "t = bound(UDP, ('127.0.0.1', 0)); t.sendto(b'x', t.getsockname())"
    )

    run = watched(PYTHON, "-c", SHARED + command, through=part_of_the_hierarchy)

    assert set(run.end["connections"]) == {"local"}, run.stderr


# A packet that can no more be on its way may have been from, and to, anybody's ports.
LATER = """
import socket, sys
OWN = sys.argv[2]
first = socket.socket(type=socket.SOCK_DGRAM); first.bind((OWN, 0))
to = socket.socket(type=socket.SOCK_DGRAM); to.bind((OWN, 0))
first.sendto(b"x", to.getsockname())
at = first.getsockname()[1], to.getsockname()[1]
first.close(); to.close()
with open(sys.argv[1], "w") as file: print(*at, file=file)
print(open(sys.argv[1]).read())
"""
STRANGERS = """
import socket, sys, time
source, target = map(int, open(sys.argv[1]).read().split())
time.sleep(11)  # what a packet may be on its way, and a second
a = socket.socket(type=socket.SOCK_DGRAM); a.bind((sys.argv[2], source))
b = socket.socket(type=socket.SOCK_DGRAM); b.bind((sys.argv[2], target))
a.sendto(b"x", b.getsockname()); b.recv(1)
open(sys.argv[1], "w").close()
"""


@pytest.mark.long
def test_ports_that_others_use_later_are_not_the_scopes(
    watched: Watch, network: Lab, tmp_path: Path
) -> None:
    pipe = str(tmp_path / "ports")
    os.mkfifo(pipe)
    with outside(network, STRANGERS, pipe, CLIENT4):
        run = watched(PYTHON, "-c", LATER, pipe, CLIENT4)

    assert run.end["verdict"] == "clean", run.stderr
