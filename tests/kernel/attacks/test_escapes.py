"""A run that opened a way around the hooks is never called clean."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.watching import Watched

Watch = Callable[..., Watched]
Build = Callable[[str], str]
PYTHON = sys.executable
CLIENTS = Path(__file__).parents[1] / "clients"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
OPENED = {
    "AF_PACKET": ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)", "packet"),
    "its old name": ("socket.socket(socket.AF_INET, 10, 3)", "packet"),
    "AF_XDP": ("socket.socket(44, socket.SOCK_RAW)", "xdp"),
    "AF_VSOCK": ("socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)", "vsock"),
}


# What the kernel does not have cannot be opened; then nothing is told.
@pytest.mark.parametrize("what", OPENED)
def test_a_socket_of_a_family_without_hooks_is_told_of(
    watched: Watch, what: str
) -> None:
    call, family = OPENED[what]

    run = watched(PYTHON, "-c", f"import socket; {call}")

    if "not supported" in run.stderr:
        pytest.skip(f"this kernel has no {what}")
    (escape,) = run.of("escape")
    assert escape["what"] == f"{family}-socket"
    assert escape["doubt"] is True
    assert escape["process"]["exe"] == os.path.realpath(PYTHON)
    assert run.end["verdict"] == "incomplete"
    assert run.status == 121
    assert f"a socket of family {family} was opened" in run.stderr


def test_what_was_refused_is_no_doubt(watched: Watch) -> None:
    code = (
        "import socket\n"
        "try: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)\n"
        "except PermissionError: print('refused')\n"
    )

    run = watched(*NOBODY, "/usr/bin/python3", "-c", code)

    assert run.stdout == "refused\n"
    assert run.of("escape") == []
    assert run.end["verdict"] == "clean"


TUN = """
import fcntl, os, struct, sys
device = sys.argv[1]
os.mknod(device, 0o600 | 0o020000, os.makedev(10, 200))
fd = os.open(device, os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"egmtest%d", 1))
"""


def test_a_tun_device_is_told_of_whatever_its_file_is_called(
    watched: Watch, tmp_path: Path
) -> None:
    run = watched(PYTHON, "-c", TUN, str(tmp_path / "innocent"))

    if "Error" in run.stderr:
        pytest.skip("this kernel has no TUN devices")
    assert [one["what"] for one in run.of("escape")] == ["tun-device"]
    assert run.end["verdict"] == "incomplete"


@contextmanager
def listener(path: Path) -> Generator[list[bytes]]:
    """Listen at path, outside the scope, like a daemon; yields what was received."""
    received: list[bytes] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o666)
    server.listen(4096)

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                received.append(client.recv(16))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        server.close()


DIAL = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.send(b"create")
"""


@pytest.mark.parametrize("name", ["docker.sock", "containerd.sock", "podman.sock"])
def test_a_container_engine_that_was_reached_is_told_of(
    watched: Watch, tmp_path: Path, name: str
) -> None:
    with listener(tmp_path / name) as received:
        run = watched(PYTHON, "-c", DIAL, str(tmp_path / name))

    assert received == [b"create"]
    (escape,) = run.of("escape")
    assert escape["what"] == "launcher"
    assert escape["path"] == str(tmp_path / name)
    assert escape["listener"] == os.getpid()
    assert run.end["verdict"] == "incomplete"
    assert f"{tmp_path / name} was reached" in run.stderr


@pytest.mark.parametrize("way", ["symlink", "link", "rename", "relative"])
def test_another_name_for_it_hides_nothing(
    watched: Watch, tmp_path: Path, way: str
) -> None:
    target, other = tmp_path / "docker.sock", tmp_path / "innocent"
    with listener(target):
        if way == "relative":
            other = Path("docker.sock")
        elif way == "rename":
            target.rename(other)
        else:
            getattr(os, way)(target, other)
        run = watched(PYTHON, "-c", DIAL, str(other))

    assert [one["what"] for one in run.of("escape")] == ["launcher"]
    assert run.end["verdict"] == "incomplete"


# A thread that changes the address between the look and the call gains nothing: the
# kernel is asked whom the socket is connected to.
RACE = """
import ctypes, socket, sys, threading
names = [word.encode() for word in sys.argv[1:3]]
size = 110
image = [b"\\1\\0" + name.ljust(108, b"\\0") for name in names]
address = ctypes.create_string_buffer(image[0], size)
done = False

def swap():
    while not done:
        for one in image:
            ctypes.memmove(address, one, size)

thread = threading.Thread(target=swap)
thread.start()
libc = ctypes.CDLL(None)
for _ in range(3000):
    s = socket.socket(socket.AF_UNIX)
    if libc.connect(s.fileno(), address, size) == 0:
        s.send(b"x")
    s.close()
done = True
thread.join()
"""


def test_an_address_that_changes_meanwhile_hides_nothing(
    watched: Watch, tmp_path: Path
) -> None:
    with (
        listener(tmp_path / "docker.sock") as engine,
        listener(tmp_path / "other") as other,
    ):
        run = watched(
            *(PYTHON, "-c", RACE, str(tmp_path / "docker.sock")),
            str(tmp_path / "other"),
        )

    assert engine
    assert other
    assert {one["what"] for one in run.of("escape")} == {"launcher", "unix-socket"}
    # Equal ones are told of once.
    assert len(run.of("escape")) == 2
    assert run.end["verdict"] == "incomplete"


def test_another_daemon_is_told_of_and_no_doubt(watched: Watch, tmp_path: Path) -> None:
    with listener(tmp_path / "nscd"):
        run = watched(PYTHON, "-c", DIAL, str(tmp_path / "nscd"))

    (escape,) = run.of("escape")
    assert (escape["what"], escape["doubt"]) == ("unix-socket", False)
    assert escape["path"] == str(tmp_path / "nscd")
    assert run.end["verdict"] == "clean"


INSIDE = """
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind("docker.sock")
server.listen(5)
for _ in range(3):
    s = socket.socket(socket.AF_UNIX)
    s.connect("docker.sock")
"""


def test_the_scopes_own_listener_is_no_escape(watched: Watch) -> None:
    run = watched(PYTHON, "-c", INSIDE)

    assert run.of("escape") == []
    assert run.end["verdict"] == "clean"


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="32-bit calls of x86")
def test_a_32_bit_call_is_told_of(watched: Watch, compile_c: Build, way: int) -> None:
    run = watched(compile_c(f"-DWAY={way}"))

    if run.status not in {0, 121}:
        pytest.skip("this kernel runs no 32-bit programs")
    assert [one["what"] for one in run.of("escape")] == ["packet-socket"]
    assert run.end["verdict"] == "incomplete"


@pytest.fixture
def compile_c(tmp_path: Path) -> Build:
    """Compile the 32-bit program with an option; returns its path."""

    def compiled(option: str) -> str:
        options = ("-m32", "-nostdlib", "-static", "-fno-pic", "-fno-stack-protector")
        target, source = str(tmp_path / "packet32"), str(CLIENTS / "packet32.c")
        words = ["gcc", "-O1", option, *options, "-o", target, source]
        subprocess.run(words, check=True)
        return target

    return compiled


def test_io_uring_is_told_of(watched: Watch, build: Build, tmp_path: Path) -> None:
    with listener(tmp_path / "docker.sock"):
        run = watched(build("ring_socket"), str(tmp_path / "docker.sock"))

    if run.status == 77:
        pytest.skip("this kernel has no io_uring, or no sockets made by it")
    assert {one["what"] for one in run.of("escape")} == {"packet-socket", "unix-socket"}
    assert all(one["doubt"] for one in run.of("escape"))
    assert run.end["verdict"] == "incomplete"


# Some kernels of arm64 (5.10) keep the first argument as it was before the tracer.
@pytest.mark.processor
def test_a_socket_whose_family_a_tracer_changed_is_told_of(
    watched: Watch, build: Build
) -> None:
    run = watched(build("traced_call"))

    if run.status == 77:
        pytest.skip("this kernel has no packet sockets")
    (escape,) = run.of("escape")
    assert escape["what"] == "packet-socket"
    assert run.end["verdict"] == "incomplete"
