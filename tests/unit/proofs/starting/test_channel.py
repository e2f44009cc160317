"""Messages between two processes of ours, one of which is stopped."""

import os
import socket
from collections.abc import Generator

import pytest

from egressmon.proofs.starting.channel import Channel


@pytest.fixture
def ends() -> Generator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    channel = Channel.of(ours.detach())
    channel.limit(0.05)
    with theirs:
        yield channel, theirs
    channel.close()


def test_nobody_who_does_not_read_is_waited_for(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, _ = ends

    with pytest.raises(OSError, match="temporarily unavailable"):
        channel.send({"env": {"LONG": "x" * (2 << 20)}})


@pytest.mark.parametrize("sent", [b"\x09", b"\x09\0\0\0", b"\x09\0\0\0{"])
def test_half_a_message_is_the_end(
    ends: tuple[Channel, socket.socket], sent: bytes
) -> None:
    channel, theirs = ends

    theirs.sendall(sent)

    assert channel.receive() is None


def test_a_message_in_time_comes_with_its_files(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, theirs = ends
    other = Channel.of(theirs.detach())
    with open(os.devnull) as file:  # noqa: PTH123 -- a descriptor
        other.send({"long": "y" * 100_000}, file.fileno())
    other.close()

    received = channel.receive()

    assert received is not None
    assert received[0] == {"long": "y" * 100_000}
    assert len(received[1]) == 1
    os.close(received[1][0])


def test_a_message_comes_with_its_files() -> None:
    ours, theirs = Channel.pair()
    read, write = os.pipe()
    long = "x" * 1_000_000
    if not os.fork():
        ours.send({"env": long}, write)
        os._exit(0)
    received = theirs.receive()
    ours.close()

    assert received is not None
    assert received[0] == {"env": long}
    assert not os.get_inheritable(received[1][0])
    os.wait()
    assert theirs.receive() is None
    theirs.close()
    for number in (read, write, *received[1]):
        os.close(number)


@pytest.mark.parametrize("data", [b"", b"abc", b"\xff\xff\xff\xff{}", b"\2\0\0\0[]"])
def test_what_is_no_message_is_the_end(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(data)
    ours.close()

    assert Channel(theirs).receive() is None
    theirs.close()
