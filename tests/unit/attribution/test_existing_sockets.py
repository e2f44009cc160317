"""TCP connections of processes that run already, as this machine's kernel has them."""

import os
import socket
import sys
from contextlib import ExitStack

import pytest

from egressmon.attribution import existing_sockets
from egressmon.attribution.existing_sockets import ExistingSocket, Sockets

LITTLE = pytest.mark.skipif(sys.byteorder != "little", reason="of such a machine")
HEAD = b"  sl  local_address rem_address   st ...\n"
ROW = b"   0: %s %s %s 00000000:00000000 00:00000000 00000000     0        0 %s 1\n"


def table(local: bytes, remote: bytes, state: bytes = b"01") -> bytes:
    return HEAD + ROW % (local, remote, state, b"77")


def read(data: bytes) -> list[ExistingSocket]:
    return list(existing_sockets.in_table(data, {77: 5}))


@LITTLE
@pytest.mark.parametrize(
    ("local", "remote", "found"),
    [
        (
            b"0107D50A:1F90",
            b"0207D50A:0FCA",
            ExistingSocket(5, "10.213.7.2", 4042, "10.213.7.1", 8080),
        ),
        (
            b"B80D0120000000000000000001000000:1F90",
            b"B80D0120000000000000000002000000:01BB",
            ExistingSocket(5, "2001:db8::2", 443, "2001:db8::1", 8080),
        ),
        (
            b"0000000000000000FFFF00000107D50A:1F90",
            b"0000000000000000FFFF00000207D50A:01BB",
            ExistingSocket(5, "10.213.7.2", 443, "10.213.7.1", 8080),
        ),
    ],
)
def test_a_row_is_read(local: bytes, remote: bytes, found: ExistingSocket) -> None:
    assert read(table(local, remote)) == [found]


@LITTLE
@pytest.mark.parametrize(
    "data",
    [
        table(b"0107D50A:1F90", b"00000000:0000", b"0A"),  # it listens
        table(b"0100007F:1F90", b"0100007F:0FCA"),
        table(b"x", b"0207D50A:0FCA"),
        table(b"0107D50A:1F90", b"0207D50A"),
        HEAD + b"1: 2\n",
        HEAD,
        b"",
    ],
)
def test_other_rows_are_passed_over(data: bytes) -> None:
    assert read(data) == []


def test_loopback_and_nobody_is_not_told_of() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(socket.create_connection(server.getsockname()))

        assert existing_sockets.found([os.getpid()]) == Sockets([])
    assert existing_sockets.found([2**22 + 1]) == Sockets([])


def test_more_than_can_be_looked_at_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(existing_sockets, "_MAX_DESCRIPTORS", 0)

    assert existing_sockets.found([os.getpid()]).why_not_all is not None
