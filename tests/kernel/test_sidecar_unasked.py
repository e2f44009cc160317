"""`egressmon sidecar --all`: what the kernel sends by itself, and what is not that."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from egressmon.verdicts.unasked import REASON
from support.lab import CLIENT4, CLIENT6, SERVER4, SERVER6, Lab, lab
from support.sidecars import Json, Sidecar, sidecar

POLICY = "".join(
    f'[[allow]]\ncidr = "{cidr}"\nports = "any"\n'
    for cidr in (f"{SERVER4}/32", f"{SERVER6}/128")
)
# Addresses of the client's that no other test's network has.
OWN4, OWN6 = "198.51.100.178", "fd00:213:9::1"
FORGED4 = "198.51.100.177"
CLOSED = """
import socket
ways = (socket.AF_INET, OWN4, SERVER4), (socket.AF_INET6, OWN6, SERVER6)
for family, source, host in ways:
    stream = socket.socket(family)
    stream.bind((source, 0))
    assert stream.connect_ex((host, 4060)), "somebody listens there"
    datagram = socket.socket(family, socket.SOCK_DGRAM)
    datagram.settimeout(9)
    datagram.bind((source, 0))
    datagram.connect((host, 4061))
    datagram.send(b"?")
    try: datagram.recv(9)
    except ConnectionRefusedError: pass
    else: raise AssertionError("somebody answered")
"""
RAW = """
import socket, struct
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def internet(source, protocol, data):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 7, 0, 64, protocol, 0,
        socket.inet_aton(source), socket.inet_aton(SERVER4))
    return head + data
def reset(source, data, flags=4):
    head = struct.pack("!HHIIBBHHH", 4070, 4071, 7, 0xDA7A, 0x50, flags, 0, 0, 0) + data
    pseudo = socket.inet_aton(source) + socket.inet_aton(SERVER4)
    pseudo += struct.pack("!BBH", 0, 6, len(head)) + head
    summed = checksum(pseudo + b"\\0" * (len(pseudo) % 2))
    return head[:16] + struct.pack("!H", summed) + head[18:]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
def send(source, protocol, data):
    raw.sendto(internet(source, protocol, data), (SERVER4, 0))
"""
HERE = "".join(
    f"{name} = {value!r}\n"
    for name, value in (
        ("SERVER4", SERVER4),
        ("SERVER6", SERVER6),
        ("OWN4", OWN4),
        ("OWN6", OWN6),
        ("FORGED4", FORGED4),
    )
)
# Each of the kernel's forms, with and without data, by a socket of a process's.
LIKE_IT = {
    "a bare RST": "send(OWN4, 6, reset(OWN4, b''))",
    "a RST with data": "send(OWN4, 6, reset(OWN4, b'SECRET'))",
    "a bare ACK": "send(OWN4, 6, reset(OWN4, b'', 0x10))",
    "an ICMP error": "send(OWN4, 1, struct.pack('!BBHI', 3, 3, 0, 0) + b'SECRET')",
    "a solicitation": (
        "six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)\n"
        "six.setsockopt(41, 16, 255)\n"  # IPV6_UNICAST_HOPS
        "six.sendto(struct.pack('!BBHI', 135, 0, 0, 0) + b'SECRET', (SERVER6, 0))\n"
    ),
}


@pytest.fixture
def network() -> Generator[Lab]:
    with lab() as one:
        for own, via in ((f"{OWN4}/32", CLIENT4), (f"{OWN6}/128", CLIENT6)):
            nodad = ["nodad"] if ":" in own else []
            ip(one.client, "addr", "add", own, "dev", "wire", *nodad)
            ip(one.server, "route", "add", own, "via", via)
        yield one


@contextmanager
def watching(policy: str) -> Generator[Sidecar]:
    with sidecar(policy) as one:
        words = ["--all", "--policy", str(one.folder / "egress.toml")]
        done = one.start(*words)
        assert done.returncode == 0, done.stderr
        yield one


def run(network: Lab, code: str) -> int:
    """Run `code` in the client's namespace; return the pid."""
    words = [*network.enter(), sys.executable, "-I", "-c", HERE + code]
    process = subprocess.Popen(words)
    assert process.wait(60) == 0
    return process.pid


def ip(namespace: str, *words: str) -> None:
    subprocess.run(["ip", "-n", namespace, *words], check=True)


def to(one: Sidecar, *hosts: str) -> list[Json]:
    return [record for host in hosts for record in one.reached(ip=host)]


def verdicts(records: list[Json]) -> set[tuple[str, str]]:
    return {(one["protocol"], one["verdict"]) for one in records}


def test_what_the_kernel_answers_is_no_violation(
    network: Lab,
    can_load: None,  # noqa: ARG001 -- order
) -> None:
    with watching(POLICY) as one:
        run(network, CLOSED)
        one.stop()

        answers = to(one, OWN4, OWN6)
        assert verdicts(answers) >= {
            ("tcp", "local"),
            ("icmp", "local"),
            ("icmpv6", "local"),
        }
        for answer in answers:
            assert (answer["verdict"], answer["rule"]) == ("local", None), answer
            assert (answer["reason"], answer["process"]) == (REASON, None)
            assert (answer["op"], answer["place"]) == ("packet", None)
        end = one.verified()[-1]
        assert end["connections"]["local"] >= len(answers)


def test_what_ipv6_tells_neighbours_is_no_violation(
    can_load: None,  # noqa: ARG001 -- order
) -> None:
    with watching("") as one:
        with lab() as network:
            words = ["link", "add", "later", "type", "veth", "peer", "name", "end"]
            ip(network.client, *words)
            ip(network.client, "addr", "add", "fd00:213:8::1/64", "dev", "later")
            for name in ("later", "end"):
                ip(network.client, "link", "set", name, "up")
            _until_tried(network.client)
        one.stop()

        groups = [
            record
            for record in one.verified()
            if record["type"] == "connection"
            and record["dst"]["ip"].startswith("ff02:")
            and record["process"] is None
        ]
        assert groups
        assert {record["protocol"] for record in groups} == {"icmpv6"}
        assert {record["verdict"] for record in groups} == {"local"}
        assert {record["reason"] for record in groups} == {REASON}


def _until_tried(namespace: str) -> None:
    words = ["ip", "-n", namespace, "-6", "addr", "show", "dev", "later", "tentative"]
    while subprocess.run(words, check=True, capture_output=True).stdout:
        pass


@pytest.mark.parametrize("how", LIKE_IT)
def test_the_same_by_a_process_is_a_violation_of_its_own(
    how: str,
    network: Lab,
    can_load: None,  # noqa: ARG001 -- order
) -> None:
    with watching("") as one:
        pid = run(network, RAW + LIKE_IT[how])
        one.stop()

        one.verified()
        sent = [
            record
            for record in to(one, SERVER4, SERVER6)
            if record["process"] and record["process"]["pid"] == pid
        ]
        assert {record["verdict"] for record in sent} == {"violation"}


@pytest.mark.parametrize(
    ("forged", "protocol"),
    [
        ("send(FORGED4, 6, reset(FORGED4, b'', 0x10))", "tcp"),
        (
            "send(FORGED4, 17, struct.pack('!HHHH', 9, 4062, 14, 0) + b'SECRET')",
            "icmp",
        ),
    ],
    ids=["a RST with its number", "an error that quotes it"],
)
def test_an_answer_to_a_forged_source_is_a_violation(
    forged: str,
    protocol: str,
    network: Lab,
    can_load: None,  # noqa: ARG001 -- order
) -> None:
    ip(network.server, "route", "add", f"{FORGED4}/32", "via", CLIENT4)
    with watching(POLICY) as one:
        run(network, RAW + forged)
        run(network, CLOSED)  # an answer to whom nobody forged
        one.stop()

        (answer,) = one.reached(ip=FORGED4)
        assert (answer["protocol"], answer["verdict"]) == (protocol, "violation")
        assert answer["process"] is None
        honest = [other for other in to(one, OWN4) if not other["process"]]
        assert {other["verdict"] for other in honest} == {"local"}, repr(honest)
        one.verified()
