"""What the service manager is told, and by which socket."""

import socket
from pathlib import Path

import pytest

from egressmon.sidecar.notifying import Notifier, State, notifier_of

PID = 4711


def block(**fields: str) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


@pytest.mark.parametrize(
    ("state", "first"),
    [
        (State.READY, "READY=1"),
        (State.WATCHDOG, "WATCHDOG=1"),
        (State.RELOADING, "RELOADING=1"),
        (State.CONCLUDING, "WATCHDOG_USEC=3600000000"),
        (State.STOPPING, "STOPPING=1"),
    ],
)
@pytest.mark.parametrize("is_abstract", [False, True])
def test_it_is_told(
    tmp_path: Path, state: State, first: str, *, is_abstract: bool
) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{path}" if is_abstract else path)
        address = f"@{path}" if is_abstract else path
        notifier = notifier_of(block(NOTIFY_SOCKET=address), 1)
        assert notifier is not None
        notifier.tell(state, 7, 2)

        lines = manager.recv(4096).decode().split("\n")

    assert lines[0] == first
    is_reload = state == State.RELOADING
    wanted = "MONOTONIC_USEC=" if is_reload else "STATUS=7 connections, 2 in violation"
    assert lines[1].startswith(wanted)


def test_where_nobody_listens_nothing_happens(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "nobody"), None).tell(State.READY, 0, 0)


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1", "/" + "x" * 200])
def test_another_address_is_nobodys(address: str) -> None:
    assert notifier_of(block(NOTIFY_SOCKET=address), PID) is None
    assert notifier_of({}, PID) is None


@pytest.mark.parametrize(
    ("fields", "every_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(PID)}, 30),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "1"}, 0.5),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "9" * 30}, None),
    ],
)
def test_how_often_the_watchdog_is_fed(
    fields: dict[str, str], every_s: float | None
) -> None:
    notifier = notifier_of(block(NOTIFY_SOCKET="/run/x", **fields), PID)

    assert notifier is not None
    assert notifier.watchdog_s == every_s
