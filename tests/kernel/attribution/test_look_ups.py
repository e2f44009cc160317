"""Look-ups name the code and the test behind them, as connections do."""

import sys
from collections.abc import Callable
from pathlib import Path

from support.lab import SERVER4
from support.watching import Watched

Watch = Callable[..., Watched]
PYTHON = sys.executable
POLICY = 'version = 1\nenforce = "fail"\n'

ASKERS = f"""
import socket, struct
SERVER = "{SERVER4}"
def question(name, number):
    labels = b"".join(bytes([len(one)]) + one for one in name.encode().split(b"."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + bytes(2) + (
        b"\\1\\0\\1")
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def first():
    asks.sendto(question("one.evil.test", 1), (SERVER, 53))
    asks.recv(512)
def second():
    asks.sendto(question("two.evil.test", 2), (SERVER, 53))
    asks.recv(512)
def third():
    try:
        socket.getaddrinfo("three.evil.test", 80)
    except OSError:
        pass
first()
second()
third()
"""


def test_a_look_up_names_the_code_that_asked(watched: Watch, tmp_path: Path) -> None:
    program = tmp_path / "asks.py"
    program.write_text(ASKERS)

    run = watched(PYTHON, str(program), policy=POLICY)

    asked = {one["name"]: one for one in run.of("dns")}
    for name in ("one", "two", "three"):
        record = asked[f"{name}.evil.test"]
        assert record["route"] == "python-socket"
        assert record["bypass"] is False
        assert record["module"]["caller"]["path"]
        functions = [frame["function"] for frame in record["code"]["stack"]]
        expected = {"one": "first", "two": "second", "three": "third"}[name]
        assert expected in functions
        assert record["code"]["file"] is not None
    assert "first (" in run.stderr
    assert "second (" in run.stderr


TEST = """
import socket
def test_no_such_host():
    try:
        socket.getaddrinfo("stats.vendor.test", 443)
    except OSError:
        pass
"""


def test_a_test_that_only_looks_up_is_named(watched: Watch, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    command = (PYTHON, "-m", "pytest", "-q", "test_it.py")

    run = watched(*command, policy=POLICY)

    names = {one["code"]["test"] for one in run.of("dns")}
    assert names == {"test_it.py::test_no_such_host (call)"}
    assert "test_no_such_host" in run.stderr


def test_a_learned_name_says_which_test_looked_it_up(
    watched: Watch, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(TEST)

    watched(PYTHON, "-m", "pytest", "-q", "test_it.py", verb="learn")

    learned = (tmp_path / "egress.toml").read_text()
    assert '"stats.vendor.test",  # ' in learned
    assert "test_it.py::test_no_such_host" in learned
