"""Real sockets, as the kernel tells of them: whose they are, and how soon."""

import ipaddress
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root, own_cgroup
from egressmon.verdicts.listeners import Listeners

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
MANY = 1500


@pytest.fixture
def here() -> Path:
    """The cgroup in which the tests' own sockets are made."""
    return own_cgroup(find_root(), Path("/proc/self/cgroup").read_text())


def bound(stack: ExitStack, kind: int, at: tuple[str, int]) -> int:
    family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
    made = stack.enter_context(socket.socket(family, kind))
    made.bind(at)
    if kind == socket.SOCK_STREAM:
        made.listen()
    return int(made.getsockname()[1])


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 -- closed at once
        ("::1", "::1"),
        ("::", "::1"),
        ("::", "127.0.0.1"),
    ],
)
def test_one_socket_outside_the_scope_decides(
    here: Path, tmp_path: Path, protocol: int, listens: str, asked: str
) -> None:
    address = ipaddress.ip_address(asked)
    kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
    inside, outside = Listeners(here), Listeners(tmp_path)
    with ExitStack() as stack:
        port = bound(stack, kind, (listens, 0))
        answers = [one.who(address, port, protocol) for one in (inside, outside)]
        elsewhere = inside.who(ipaddress.ip_address("127.0.0.9"), port, protocol)
    gone = inside.who(address, port, protocol)

    assert answers == ["scope", "outside"]
    assert elsewhere == ("scope" if listens in {"::", "0.0.0.0"} else "nobody")  # noqa: S104
    assert gone == "nobody"
    inside.close()
    outside.close()


# Equal ones are no reason to be in doubt.
def test_several_sockets_of_one_cgroup_are_one_answer(
    here: Path, tmp_path: Path
) -> None:
    inside, outside = Listeners(here), Listeners(tmp_path)
    address = ipaddress.ip_address("127.0.0.1")
    with ExitStack() as stack:
        port = 0
        for _ in range(3):
            made = stack.enter_context(socket.socket())
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(("127.0.0.1", port))
            made.listen()
            port = made.getsockname()[1]

        assert inside.who(address, port, TCP) == "scope"
        assert outside.who(address, port, TCP) == "outside"
    inside.close()
    outside.close()


def test_a_bound_stream_socket_that_does_not_listen_is_nobody(here: Path) -> None:
    asked = Listeners(here)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]

        assert asked.who(ipaddress.ip_address("127.0.0.1"), port, TCP) == "nobody"
    asked.close()


# And the run as a whole is kept by such questions for five seconds at most.
def test_many_sockets_do_not_make_an_answer_slow(here: Path) -> None:
    asked = Listeners(here)
    address = ipaddress.ip_address("127.0.0.1")
    with ExitStack() as stack:
        for _ in range(MANY):
            bound(stack, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        began = time.process_time()
        answers = {asked.who(address, 9, UDP) for _ in range(100)}
        spent = time.process_time() - began

    assert answers == {"nobody"}
    assert spent < 2
    asked.close()


def test_who_may_not_be_asked_is_unknown(here: Path) -> None:
    asked = Listeners(here)

    # No handler of sock_diag's knows this protocol.
    assert asked.who(ipaddress.ip_address("127.0.0.1"), 9, 253) == "unknown"
    asked.close()
