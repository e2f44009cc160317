"""A connection is the process's that asked for it, and of nobody who only worked."""

import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.lab import SERVER4, Lab
from support.watching import Watched

Watch = Callable[..., Watched]

PORT = 7443
SECOND4 = "10.213.7.9"
SERVER = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("{SERVER4}", {PORT}))
    listener.listen()
    print("ready", flush=True)
    one = listener.accept()[0]
    while data := one.recv(4096):
        one.sendall(data)
"""
# Until the second flow of the one connection is there: state 01 is ESTABLISHED.
CLIENT = f"""
import socket, time
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as one:
    one.connect(("{SERVER4}", {PORT}))
    end = time.monotonic() + 20
    while time.monotonic() < end:
        one.sendall(b"x")
        one.recv(1)
        table = [line.split() for line in open("/proc/net/tcp")][1:]
        if sum(row[2].endswith(":{PORT:04X}") and row[3] == "01" for row in table) > 1:
            break
    else:
        raise SystemExit("no second flow")
"""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def _two_paths(network: Lab) -> Generator[None]:
    for name in (network.client, network.server):
        _ip("-n", name, "mptcp", "limits", "set", "subflow", "4")
    _ip("-n", network.client, "addr", "add", f"{SECOND4}/24", "dev", "wire")
    endpoint = ("mptcp", "endpoint", "add", SECOND4, "dev", "wire", "subflow")
    _ip("-n", network.client, *endpoint)
    try:
        yield
    finally:
        _ip("-n", network.client, "mptcp", "endpoint", "flush")
        _ip("-n", network.client, "addr", "del", f"{SECOND4}/24", "dev", "wire")


@contextmanager
def _server(network: Lab) -> Generator[None]:
    namespace = f"--net=/run/netns/{network.server}"
    process = subprocess.Popen(
        ["nsenter", namespace, sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.terminate()
        process.stdout.close()
        process.wait()


def test_a_kernel_thread_is_nobodys_name(watched: Watch, network: Lab) -> None:
    try:
        _ip("-n", network.client, "mptcp", "limits", "show")
    except subprocess.CalledProcessError:
        pytest.skip("this kernel has no MPTCP")
    with _two_paths(network), _server(network):
        run = watched("/usr/bin/python3", "-c", CLIENT)

    assert run.end["command_status"] == 0, run.stderr
    found = run.of("connection")
    assert len(found) > 1, found
    for one in found:
        process = one["process"]
        if process is None:
            assert "a kernel thread made" in one["process_reason"]
        else:
            assert process["exe"].startswith("/usr/bin/python3"), process
    assert any(one["process"] is not None for one in found)


HOLE = f"""
#include <arpa/inet.h>
#include <unistd.h>

__attribute__((noinline)) static void dial(void)
{{
	struct sockaddr_in peer = {{.sin_family = AF_INET, .sin_port = htons(80)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, "{SERVER4}", &peer.sin_addr);
	connect(fd, (void *)&peer, sizeof(peer));
	close(fd);
}}

__attribute__((noinline)) static void with_room(void)
{{
	char room[12 * 1024];

	asm volatile("" ::"r"(room) : "memory");
	dial();
	asm volatile("" ::"r"(room) : "memory");
}}

int main(void)
{{
	with_room();
	return 0;
}}
"""


# Pages that were never written are not there, and what is above them is.
def test_a_buffer_that_was_never_written_hides_no_caller(
    watched: Watch, tmp_path: Path
) -> None:
    program = tmp_path / "hole"
    words = ["gcc", "-O1", "-fno-stack-clash-protection", "-x", "c", "-o", str(program)]
    subprocess.run([*words, "-"], input=HOLE.encode(), check=True)

    run = watched(str(program))

    (record,) = run.of("connection")
    assert record["module"] is not None, record["module_reason"]
    assert record["module"]["chain_end"] is None
