"""Questions that change once they were read, or that leave after the end."""

import sys
from collections.abc import Callable

import pytest

from support.lab import SERVER4, Lab
from support.outside import outside
from support.watching import Watched

Watch = Callable[..., Watched]
PYTHON = sys.executable

POLICY = """
version = 1
enforce = "fail"
[[allow]]
host = "api.example.test"
ports = [80]
"""

# Of one length: one takes the other's place.
PRELUDE = f"""
import mmap, os, socket, struct, sys, tempfile
SERVER = ("{SERVER4}", 53)
def question(name, number=7):
    labels = b"".join(bytes([len(one)]) + one for one in name.encode().split(b"."))
    header = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0)
    return header + labels + b"\\0\\0\\1\\0\\1"
def framed(data):
    return struct.pack("!H", len(data)) + data
GOOD, EVIL = question("api.example.test"), question("key.evil.ex.test")
assert len(GOOD) == len(EVIL)
def stream():
    made = socket.create_connection(SERVER, 20)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
def datagrams():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(20)
    made.connect(SERVER)
    return made
def file_with(data):
    made = tempfile.TemporaryFile()
    made.write(data)
    made.flush()
    return os.dup(made.fileno())
def splice(file, size, made):
    reads, writes = os.pipe()
    assert os.splice(file, writes, size, 0) == size
    assert os.splice(reads, made.fileno(), size) == size
"""

SENT = {
    "sendfile": """
data = framed(GOOD)
made, file = stream(), file_with(data)
assert os.sendfile(made.fileno(), file, 0, len(data)) == len(data)
os.pwrite(file, framed(EVIL), 0)
""",
    "splice": """
data = framed(GOOD)
made, file = stream(), file_with(data)
splice(file, len(data), made)
os.pwrite(file, framed(EVIL), 0)
""",
    "MSG_ZEROCOPY": """
page = mmap.mmap(-1, 4096)
page[: len(GOOD) + 2] = framed(GOOD)
made = stream()
made.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
made.send(memoryview(page)[: len(GOOD) + 2], 0x4000000)
page[: len(GOOD) + 2] = framed(EVIL)
""",
    "splice to UDP": """
made, file = datagrams(), file_with(GOOD)
splice(file, len(GOOD), made)
os.pwrite(file, EVIL, 0)
""",
    "MSG_ZEROCOPY over UDP": """
page = mmap.mmap(-1, 4096)
page[: len(GOOD)] = GOOD
made = datagrams()
made.setsockopt(socket.SOL_SOCKET, 60, 1)
made.send(memoryview(page)[: len(GOOD)], 0x4000000)
page[: len(GOOD)] = EVIL
""",
}


def run_program(watched: Watch, code: str, **how: object) -> Watched:
    return watched(PYTHON, "-c", PRELUDE + code, policy=POLICY, **how)


# The file's pages are the packet's: who writes to the file changes what is sent again,
# or what waits for its next hop.
@pytest.mark.parametrize("how", SENT)
def test_a_question_that_its_sender_can_still_change_is_a_violation(
    watched: Watch, how: str
) -> None:
    run = run_program(watched, SENT[how] + "made.recv(512)\n")

    told = [one for one in run.of("dns") if one["unread_bytes"]]
    assert [one["verdict"] for one in told] == ["violation"], (
        run.of("dns"),
        run.stderr,
    )
    assert "could change them after they were read" in told[0]["reason"]
    assert run.status == 120


def test_the_same_question_copied_into_the_packet_is_a_look_up(watched: Watch) -> None:
    code = """
for made, data in ((stream(), framed(GOOD)), (datagrams(), GOOD)):
    made.send(data)
    assert made.recv(512)
"""

    run = run_program(watched, code)

    assert [one["verdict"] for one in run.of("dns")] == ["allowed", "allowed"]
    assert run.end["verdict"] == "clean"


# Knows no name; its end resets the connection, and what still waits there is gone.
RESOLVER = """
import socket, struct, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
listener.bind(("127.0.0.2", 53))
listener.listen()
print("ready", flush=True)
made, _ = listener.accept()
made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
if sys.argv[1] == "reads":
    while data := made.recv(4096):
        made.send(data[:4] + bytes([0x81, 0x80]) + data[6:])
sys.stdin.read()
"""
FAR = POLICY + '[dns]\nresolvers = ["127.0.0.2"]\n'

LEFT = """
made = socket.create_connection(("127.0.0.2", 53))
made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""
PACED = (
    LEFT
    + """
def ask():
    made.send(framed(GOOD))
    assert made.recv(512)
for _ in range(14):  # the first ten packets are not paced
    ask()
if "paced" in sys.argv:
    made.setsockopt(socket.SOL_SOCKET, 47, struct.pack("I", 6))  # SO_MAX_PACING_RATE
ask()
if "paced" in sys.argv:
    made.send(framed(EVIL))
else:
    ask()
"""
)
WINDOW = (
    LEFT
    + """
made.setblocking(False)
try:
    while True:
        made.send(framed(GOOD) * 50)
except BlockingIOError:
    pass
"""
)


def test_a_question_that_is_paced_past_the_end_makes_the_run_incomplete(
    network: Lab, watched: Watch
) -> None:
    with outside(network, RESOLVER, "reads") as resolver:
        assert resolver.says() == "ready"
        run = watched(PYTHON, "-c", PRELUDE + PACED, "paced", policy=FAR)

    assert_unsent(run)


def test_a_question_before_a_closed_window_makes_the_run_incomplete(
    network: Lab, watched: Watch
) -> None:
    with outside(network, RESOLVER, "waits") as resolver:
        assert resolver.says() == "ready"
        run = watched(PYTHON, "-c", PRELUDE + WINDOW, policy=FAR)

    assert_unsent(run)


# MPTCP has a queue above those of its TCP sockets, which it empties as they can take.
def test_a_question_over_mptcp_makes_the_run_incomplete(
    network: Lab, watched: Watch
) -> None:
    layered = """
try:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)  # IPPROTO_MPTCP
except OSError:
    sys.exit(77)
made.connect(("127.0.0.2", 53))
made.send(framed(GOOD))
made.recv(512)
"""
    with outside(network, RESOLVER, "reads") as resolver:
        assert resolver.says() == "ready"
        run = watched(PYTHON, "-c", PRELUDE + layered, policy=FAR)

    if run.end["command_status"] == 77:
        pytest.skip("this kernel has no MPTCP")
    reasons = run.end["incomplete_reasons"]
    assert any("DNS over MPTCP" in one for one in reasons), reasons
    assert run.status == 121


def test_the_same_questions_sent_before_the_end_are_clean(
    network: Lab, watched: Watch
) -> None:
    with outside(network, RESOLVER, "reads") as resolver:
        assert resolver.says() == "ready"
        run = watched(PYTHON, "-c", PRELUDE + PACED, "plain", policy=FAR)

    assert run.end["incomplete_reasons"] == []
    assert run.end["verdict"] == "clean"


def assert_unsent(run: Watched) -> None:
    reasons = run.end["incomplete_reasons"]
    assert "1 socket had unsent data to a DNS server when the run ended" in reasons
    assert run.end["verdict"] != "clean"
    assert run.status in {120, 121}


ELSEWHERE = """
listener = socket.create_server(("127.0.0.1", 53))
made = socket.create_connection(("127.0.0.1", 53))
taken, _ = listener.accept()
made.sendall(framed(GOOD))
assert taken.recv(512)
"""


# Which nobody can ask from outside for what it has still to send.
def test_a_stream_in_another_network_namespace_makes_the_run_incomplete(
    watched: Watch,
) -> None:
    script = 'ip link set lo up && exec "$@"'
    words = ["unshare", "--net", "sh", "-c", script, "sh", PYTHON, "-c"]

    run = watched(*words, PRELUDE + ELSEWHERE, policy=POLICY)

    assert run.stderr.count("Traceback") == 0
    reasons = run.end["incomplete_reasons"]
    assert any("another network namespace" in one for one in reasons), reasons
