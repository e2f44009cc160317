"""An answer that is not taken at once goes on later, or is given up."""

import socket

from egressmon.sidecar.connections import Connection


def pair() -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    theirs.settimeout(5)
    return Connection(ours, 0, 0.0), theirs


def test_an_answer_in_pieces() -> None:
    one, theirs = pair()
    data = bytes(range(256)) * 2048
    taken = bytearray()

    is_done = one.answer(data, 1.0)
    assert not is_done
    while not is_done:
        taken += theirs.recv(65536)
        is_done = one.go_on()
    one.close()
    while part := theirs.recv(65536):
        taken += part

    assert bytes(taken) == data
    theirs.close()


def test_who_is_gone_is_done() -> None:
    one, theirs = pair()
    theirs.close()

    assert one.answer(b"x" * 100_000, 1.0)
    one.close()
