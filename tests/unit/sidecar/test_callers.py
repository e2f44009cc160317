"""Who connected is what the kernel says, whether or not it still runs."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from egressmon.sidecar import callers
from egressmon.sidecar.callers import caller_of
from support.control import open_descriptors

CONNECT = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
    "print('there', flush=True); sys.stdin.read()"
)


def listening(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "socket"))
    listener.listen()
    return listener


def connecting(folder: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", CONNECT, folder / "socket"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"there\n"
    return child


def test_a_caller_that_runs(tmp_path: Path) -> None:
    with listening(tmp_path) as listener, connecting(tmp_path) as child:
        connection, _ = listener.accept()
        with connection:
            found = caller_of(connection, lambda pid: pid == child.pid)
        child.communicate()

    assert (found.pid, found.uid) == (child.pid, os.getuid())
    assert found.is_inside
    assert found.is_pinned


def test_a_caller_that_has_ended_is_not_pinned(tmp_path: Path) -> None:
    with listening(tmp_path) as listener, connecting(tmp_path) as child:
        child.communicate()
        connection, _ = listener.accept()
        with connection:
            found = caller_of(connection, lambda _: True)

    assert found.pid == child.pid
    assert not found.is_pinned


def test_a_caller_that_ends_as_it_is_looked_at_is_not_pinned(tmp_path: Path) -> None:
    with listening(tmp_path) as listener, connecting(tmp_path) as child:

        def end(_: int) -> bool:
            child.communicate()
            return True

        connection, _ = listener.accept()
        with connection:
            assert not caller_of(connection, end).is_pinned


def test_a_kernel_that_keeps_no_pidfd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "_SO_PEERPIDFD", 9999)
    with listening(tmp_path) as listener, connecting(tmp_path) as child:
        connection, _ = listener.accept()
        with connection:
            running = caller_of(connection, lambda _: False)
            child.communicate()
            ended = caller_of(connection, lambda _: False)

    assert (running.is_pinned, ended.is_pinned) == (True, False)


def test_a_process_that_cannot_be_looked_at_is_outside() -> None:
    def gone(_: int) -> bool:
        raise ProcessLookupError

    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = caller_of(ours, gone)

    assert not found.is_inside
    assert found.is_pinned


def test_no_descriptor_is_left_open() -> None:
    before = open_descriptors()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(10):
            caller_of(ours, lambda _: True)
        assert open_descriptors() == before + 2
