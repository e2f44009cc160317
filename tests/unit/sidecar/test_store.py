"""What a service manager hands over, and what is left with it."""

import os
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from egressmon.sidecar.notifying import Notifier
from egressmon.sidecar.store import NAME, DescriptorStore, handed_over

PID = 4711


def block(
    count: str = "1", names: str = NAME, pid: str = str(PID)
) -> dict[bytes, bytes]:
    fields = {"LISTEN_PID": pid, "LISTEN_FDS": count, "LISTEN_FDNAMES": names}
    return {name.encode(): value.encode() for name, value in fields.items()}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Generator[int]:
    """Have the first descriptor that is handed over be this one."""
    read, write = os.pipe()
    monkeypatch.setattr("egressmon.sidecar.store._FIRST", read)
    yield read
    os.close(read)
    os.close(write)


def test_a_copy_of_what_is_ours_is_taken(opened: int) -> None:
    (copy,) = handed_over(block(), PID)

    assert copy != opened
    assert os.path.sameopenfile(copy, opened)
    assert not os.get_inheritable(copy)
    os.close(copy)


@pytest.mark.parametrize(
    "told",
    [
        {},
        block(pid="4712"),
        block(count=""),
        block(count="-1"),
        block(count="1e3"),
        block(count="9" * 30),
        block(count="5000", names=":".join([NAME] * 5000)),
        block(count="2"),
        block(names="other"),
        block(names=""),
        block(names=f"{NAME}:{NAME}"),
    ],
)
def test_what_systemd_does_not_say_is_not_taken(
    opened: int, told: dict[bytes, bytes]
) -> None:
    assert opened
    assert handed_over(told, PID) == []


def test_what_is_not_open_is_an_error(
    opened: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened
    monkeypatch.setattr("egressmon.sidecar.store._FIRST", 900_000)
    with pytest.raises(OSError, match="Bad file descriptor"):
        handed_over(block(), PID)


def test_it_is_left_and_removed(tmp_path: Path, opened: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        store = DescriptorStore(Notifier(str(tmp_path / "notify"), None))
        store.keep([opened, opened])
        text, found, _, _ = socket.recv_fds(manager, 4096, 9)
        store.forget()
        removed = manager.recv(4096)

    assert text.decode() == f"FDSTORE=1\nFDNAME={NAME}\nFDPOLL=0"
    assert len(found) == 2
    assert removed.decode() == f"FDSTOREREMOVE=1\nFDNAME={NAME}"
    assert ":" not in NAME
    for one in found:
        os.close(one)


def test_where_nobody_listens_it_is_an_error_to_leave_something(
    tmp_path: Path, opened: int
) -> None:
    store = DescriptorStore(Notifier(str(tmp_path / "nobody"), None))
    with pytest.raises(OSError, match="No such file"):
        store.keep([opened])
    store.forget()
