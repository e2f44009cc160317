"""Whoever answers may be an impostor, frozen or mad: an error, and never a success."""

import json
import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from egressmon.errors import EgressmonError
from egressmon.sidecar.client import AskError, RefusedError, ask
from support.control import open_descriptors

STATUS = {"verb": "status"}
ANYBODY = os.getuid()


@contextmanager
def answering(folder: Path, *answers: bytes, hold: bool = False) -> Generator[None]:
    """Give each connection one of the answers, and hang up unless `hold`."""
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "control.sock"))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(5000)
                    connection.sendall(answer)
                    if hold:
                        ended.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def asked(folder: Path, limit_s: float = 5.0) -> dict[str, Any]:
    return ask(str(folder), STATUS, limit_s, ANYBODY)


def test_an_answer(tmp_path: Path) -> None:
    with answering(tmp_path, b'{"ok": true, "verdict": "clean"}\nmore'):
        assert asked(tmp_path) == {"ok": True, "verdict": "clean"}


def test_a_refusal_has_a_status_of_its_own(tmp_path: Path) -> None:
    with (
        answering(tmp_path, b'{"ok": false, "why": "only root"}\n'),
        pytest.raises(RefusedError, match=r"^refused: only root$") as caught,
    ):
        asked(tmp_path)

    assert (caught.value.status, caught.value.other_status) == (1, 1)


def test_one_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    busy = b'{"ok": false, "why": "too many", "busy": true}\n'
    with answering(tmp_path, busy, busy, b'{"ok": true}\n'):
        assert asked(tmp_path) == {"ok": True}


def test_one_that_stays_busy_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("egressmon.sidecar.client._AGAIN_S", 1000.0)
    busy = b'{"ok": false, "why": "too many", "busy": true}\n'
    with answering(tmp_path, busy), pytest.raises(AskError, match="too many"):
        asked(tmp_path)


@pytest.mark.parametrize(
    "answer",
    [
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"\xff\n",
        b"HTTP/1.1 400\r\n\r\n",
        b"[" * 60000 + b"\n",
        b'{"ok": 1}\n',
        b'{"ok": "true"}\n',
        b'{"ok": [true]}\n',
        b'{"ok": false}\n',
        b'{"ok": false, "why": 7}\n',
        b'{"ok": false, "why": null, "busy": "yes"}\n',
        b'{"ok": true',
        b"",
        b"x" * 70_000,
        b'{"ok": true, "x": "' + b"a" * 70_000 + b'"}\n',
    ],
)
def test_what_is_no_answer(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer), pytest.raises(AskError) as caught:
        asked(tmp_path)

    assert caught.value.status == 2
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_an_endless_answer(tmp_path: Path) -> None:
    with answering(tmp_path, b"x" * 5_000_000), pytest.raises(AskError, match="longer"):
        asked(tmp_path)


def test_one_that_is_frozen_is_named(tmp_path: Path) -> None:
    frozen = f"\\(pid {os.getpid()}\\) did not answer within 0.05 s"
    with (
        answering(tmp_path, b"{", hold=True),
        pytest.raises(AskError, match=frozen) as caught,
    ):
        asked(tmp_path, 0.05)

    assert "frozen" in caught.value.hint


def test_one_that_takes_no_connections_any_more(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        path = str(tmp_path / "control.sock")
        listener.bind(path)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            with pytest.raises(AskError, match=r"did not answer within 0\.05 s"):
                asked(tmp_path, 0.05)


def nothing(_: Path) -> None:
    pass


def file(path: Path) -> None:
    path.write_text("")


def loop(path: Path) -> None:
    path.symlink_to(path)


def stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


def datagram(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
        gone.bind(str(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "no sidecar is running at"),
        (stale, "nobody listens"),
        (datagram, "nobody listens|cannot be connected to"),
        (file, "nobody listens"),
        (Path.mkdir, "nobody listens"),
        (loop, "cannot be connected to"),
    ],
)
def test_where_no_sidecar_is(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "control.sock")

    with pytest.raises(AskError, match=message) as caught:
        asked(tmp_path)

    assert caught.value.hint


@pytest.mark.parametrize("folder", ["/nonexistent", "/etc/passwd", "", "a\0b"])
def test_where_no_folder_is(folder: str) -> None:
    with pytest.raises(AskError, match="no sidecar is running in"):
        ask(folder, STATUS, 5)


def test_a_folder_with_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()

    with pytest.raises(AskError, match="no sidecar is running at"):
        asked(folder)


def test_an_impostor_is_sent_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    received: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        with pytest.raises(AskError, match=f"uid {os.getuid()} listens") as caught:
            ask(str(tmp_path), {"verb": "stop", "token": "t"}, 5, os.getuid() + 1)
        connection, _ = listener.accept()
        with connection:
            received.append(connection.recv(5000))

    assert received == [b""]
    assert "no token was sent" in caught.value.hint


def test_a_request_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(AskError, match="longer than 4096"):
        ask(str(tmp_path), {"verb": "x" * 5000}, 5)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = open_descriptors()
    with answering(tmp_path, b'{"ok": true}\n'):
        asked(tmp_path)
    with suppress(EgressmonError):
        asked(tmp_path)

    assert open_descriptors() == before


def test_text_that_is_not_unicode_is_sent_as_it_is(tmp_path: Path) -> None:
    request = {"verb": "mark", "phase": "\udcff"}
    with (
        answering(tmp_path, b'{"ok": false, "why": "not JSON"}\n'),
        pytest.raises(RefusedError, match="not JSON"),
    ):
        ask(str(tmp_path), request, 5, ANYBODY)

    assert json.dumps(request).isascii()
