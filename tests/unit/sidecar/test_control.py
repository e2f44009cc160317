"""Many clients, few of them friendly: each has its answer, and nobody is delayed."""

import json
import os
import socket
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from egressmon.sidecar.answers import MAX_ANSWER
from egressmon.sidecar.control import ControlServer
from egressmon.sidecar.requests import MAX_REQUEST
from egressmon.sidecar.tokens import digest_of
from support.control import END, TOKEN, Noted, connected, open_descriptors

OTHER = 12345
STOP = {"verb": "stop", "token": TOKEN}


class Lab:
    """A server whose clock the test sets, and clients."""

    def __init__(self, folder: Path, starter: int) -> None:
        self.folder = folder
        self.now = 100.0
        self.acts = Noted()
        self.inside = False
        self.clients: list[socket.socket] = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(folder / "control.sock"))
        self.listener.listen(128)
        self.server = ControlServer(
            self.listener,
            digest_of(TOKEN),
            starter,
            lambda _: self.inside,
            self.acts,
            lambda: self.now,
        )

    def client(self, data: bytes = b"") -> socket.socket:
        one = connected(self.folder)
        one.settimeout(5)
        self.clients.append(one)
        one.sendall(data)
        return one

    def ask(self, request: object) -> dict[str, Any]:
        one = self.client(json.dumps(request).encode() + b"\n")
        self.server.attend()
        return answer_to(one)


def answer_to(client: socket.socket) -> dict[str, Any]:
    with client.makefile("rb") as file:
        line = file.readline()
    assert line.endswith(b"\n")
    assert len(line) <= MAX_ANSWER
    found: dict[str, Any] = json.loads(line)
    return found


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def lab(tmp_path: Path) -> Generator[Lab]:
    one = Lab(tmp_path, os.getuid())
    yield one
    one.server.sever()
    for client in one.clients:
        client.close()


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Lab]:
    """Yield a lab whose clients are neither root nor who started it."""

    def credentials(_: socket.socket) -> tuple[int, int]:
        return os.getpid(), OTHER

    for module in ("callers", "reception"):
        monkeypatch.setattr(f"egressmon.sidecar.{module}.credentials_of", credentials)
    one = Lab(tmp_path, 0)
    yield one
    one.server.sever()
    for client in one.clients:
        client.close()


def test_status_and_mark(lab: Lab) -> None:
    assert lab.ask({"verb": "status"}) == {"ok": True, "verdict": "clean"}
    marked = {"phase": "build", "run": "R", "records": 1, "head": "blake3:0"}
    assert lab.ask({"verb": "mark", "phase": "build"}) == {"ok": True, **marked}
    ((name, caller),) = lab.acts.marks
    assert (name, caller.pid, caller.uid) == ("build", os.getpid(), os.getuid())


def test_a_bad_name_is_refused_with_the_reason(lab: Lab) -> None:
    for name in ("", "a\0b", "x" * 101, "::error::x"):
        answer = lab.ask({"verb": "mark", "phase": name})
        assert answer["ok"] is False
        assert "name" in answer["why"]
    assert lab.ask({"verb": "mark"})["ok"] is False
    assert lab.acts.marks == []


def test_marks_are_limited(lab: Lab) -> None:
    answers = [lab.ask({"verb": "mark", "phase": "x"}) for _ in range(101)]

    assert answers[-1]["why"].startswith("too many marks")
    assert len(lab.acts.marks) == 100
    lab.now += 1
    assert lab.ask({"verb": "mark", "phase": "x"})["ok"]


def test_others_may_look_alone(foreign: Lab) -> None:
    assert foreign.ask({"verb": "status"})["ok"] is True
    for verb in ("mark", "stop", "reload"):
        answer = foreign.ask({"verb": verb, "phase": "x", "token": "wrong"})
        assert answer["ok"] is False
        assert "only" in answer["why"] or "not that of this run" in answer["why"]

    assert foreign.acts.stops == []
    assert foreign.acts.marks == []
    assert foreign.acts.reloads == 0
    assert foreign.acts.attempts == [("stop", OTHER, 1), ("reload", OTHER, 1)]


def test_what_is_watched_may_mark(foreign: Lab) -> None:
    foreign.inside = True

    assert foreign.ask({"verb": "mark", "phase": "x"})["ok"]
    assert not foreign.ask({"verb": "stop"})["ok"]


def test_a_flood_of_attempts_is_few_records(foreign: Lab) -> None:
    for _ in range(50):
        foreign.ask({"verb": "stop", "token": "guess"})
    assert foreign.acts.attempts == [("stop", OTHER, 1)]

    foreign.now += 1
    foreign.server.attend()
    foreign.ask({"verb": "stop"})
    foreign.server.sever()

    assert foreign.acts.attempts == [
        ("stop", OTHER, 1),
        ("stop", OTHER, 49),
        ("stop", OTHER, 1),
    ]


def test_with_the_token_anybody_concludes(foreign: Lab) -> None:
    client = foreign.client(json.dumps(STOP).encode() + b"\n")
    foreign.server.attend()
    assert foreign.acts.stops == [(True, "stopped with the token")]

    foreign.server.answer_stop(END)

    assert answer_to(client) == {"ok": True, **END}
    assert is_closed(client)


@pytest.mark.skipif(os.getuid() != 0, reason="only root stops without the token")
def test_root_without_the_token_stops_but_does_not_conclude(lab: Lab) -> None:
    wrong = lab.client(b'{"verb": "stop", "token": "wrong"}\n')
    lab.server.attend()
    assert lab.acts.stops == []
    assert answer_to(wrong)["ok"] is False
    without = lab.client(b'{"verb": "stop"}\n')
    lab.server.attend()
    lab.client(b'{"verb": "stop"}\n')
    lab.server.attend()
    assert lab.acts.stops == [(False, "stopped by root without the token")]
    holder = lab.client(json.dumps(STOP).encode() + b"\n")
    lab.server.attend()
    assert [concluded for concluded, _ in lab.acts.stops] == [False, True]

    lab.server.answer_stop(END)

    assert answer_to(without)["concluded"] is False
    assert answer_to(holder)["concluded"] is True


@pytest.mark.skipif(os.getuid() != 0, reason="only root stops without the token")
def test_those_who_wait_without_the_token_make_room_for_it(lab: Lab) -> None:
    others = [lab.client(b'{"verb": "stop"}\n') for _ in range(16)]
    lab.server.attend()
    assert lab.ask({"verb": "stop"})["busy"] is True
    holder = lab.client(json.dumps(STOP).encode() + b"\n")
    lab.server.attend()

    lab.server.answer_stop(END)

    assert answer_to(holder)["concluded"] is True
    assert is_closed(others[0])


def test_who_asks_after_the_end_gets_the_same_answer(lab: Lab) -> None:
    lab.server.answer_stop(END)

    assert lab.ask(STOP) == {"ok": True, **END}


def test_a_run_that_ends_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        lab.server.answer_stop(END)

    monkeypatch.setattr(lab.acts, "stop", stop)

    assert lab.ask(STOP)["concluded"] is True


def test_who_waits_for_the_end_and_goes_does_no_harm(lab: Lab) -> None:
    gone = lab.client(json.dumps(STOP).encode() + b"\n")
    lab.server.attend()
    gone.close()
    stays = lab.client(json.dumps(STOP).encode() + b"\n")
    lab.server.attend()

    lab.server.answer_stop(END)

    assert answer_to(stays)["ok"]


def test_a_long_answer_is_cut_and_stays_json(lab: Lab) -> None:
    why = "\x1b]0;title\x07" * 1000
    one = {"destination": "d" * 9000, "process": why, "reason": "\udcff##[x]" * 900}
    client = lab.client(json.dumps(STOP).encode() + b"\n")
    lab.server.attend()

    lab.server.answer_stop({**END, "violations": [one] * 50})

    answer = answer_to(client)
    assert answer["exit_status"] == 120
    assert answer["violations"]


def test_reload_says_why_it_failed(lab: Lab) -> None:
    token = {"verb": "reload", "token": TOKEN}

    assert lab.ask(token) == {"ok": True, "policies": ["abc"]}
    lab.acts.why_no_reload = "line 3: no rule"
    assert lab.ask(token) == {"ok": False, "why": "line 3: no rule"}


def test_an_act_that_fails_is_told_to_both(lab: Lab) -> None:
    lab.acts.failure = RuntimeError("broke")
    first = lab.client(b'{"verb": "status"}\n')
    second = lab.client(b'{"verb": "mark", "phase": "x"}\n')

    with pytest.raises(RuntimeError, match="broke"):
        lab.server.attend()

    assert answer_to(first) == {"ok": False, "why": "a step of the sidecar failed"}
    assert answer_to(second)["ok"]
    lab.server.attend()


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 100 + b"\n",
        b"\xff\xfe\n",
        b"[" * 2000 + b"\n",
        b'{"verb": "quit"}\n',
        b"x" * MAX_REQUEST,
        b'{"verb": "status", "x": "' + b"a" * 100_000 + b'"}\n',
        b"x" * (MAX_REQUEST - 1) + b"\n",
    ],
)
def test_what_is_no_request_is_answered_and_closed(lab: Lab, data: bytes) -> None:
    client = lab.client(data)

    lab.server.attend()

    answer = answer_to(client)
    assert answer["ok"] is False
    assert answer["why"].isprintable()
    assert is_closed(client)
    assert lab.acts == Noted()


def test_a_request_of_exactly_the_limit(lab: Lab) -> None:
    start = b'{"verb": "status", "x": "'
    data = start + b"a" * (MAX_REQUEST - len(start) - 3) + b'"}\n'
    assert len(data) == MAX_REQUEST
    client = lab.client(data)

    lab.server.attend()

    assert answer_to(client)["ok"] is True


def test_a_request_in_pieces_and_a_client_that_only_listens_then(lab: Lab) -> None:
    client = lab.client(b'{"verb": ')
    lab.server.attend()
    client.sendall(b'"status"}\n')
    client.shutdown(socket.SHUT_WR)

    lab.server.attend()

    assert answer_to(client)["ok"] is True


def test_an_end_before_the_line_is_one(lab: Lab) -> None:
    client = lab.client(b'{"verb": "status"}')
    client.shutdown(socket.SHUT_WR)

    lab.server.attend()
    lab.server.attend()

    assert "no end" in answer_to(client)["why"]


def test_a_slow_client_has_a_second_in_all(lab: Lab) -> None:
    client = lab.client(b"{")
    lab.server.attend()
    for _ in range(9):
        lab.now += 0.1
        client.sendall(b" ")
        lab.server.attend()
    assert lab.server.due_in_s() == pytest.approx(0.1)
    lab.now += 0.11
    lab.server.attend()

    assert "within 1 s" in answer_to(client)["why"]
    assert is_closed(client)


def test_idle_clients_do_not_keep_others_out(lab: Lab) -> None:
    idle = [lab.client() for _ in range(100)]
    for _ in range(10):
        lab.server.attend()

    assert lab.ask({"verb": "status"})["ok"] is True
    assert answer_to(idle[0])["busy"] is True
    assert len(lab.server.descriptors()) <= 17


def test_who_has_most_connections_loses_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = iter([1, *[2] * 40])

    def credentials(_: socket.socket) -> tuple[int, int]:
        return 1, next(uids)

    monkeypatch.setattr("egressmon.sidecar.reception.credentials_of", credentials)
    friend = lab.client()
    flood = [lab.client() for _ in range(40)]
    for _ in range(4):
        lab.server.attend()
    friend.sendall(b'{"verb": "status"}\n')
    lab.server.attend()

    assert answer_to(friend)["ok"] is True
    assert answer_to(flood[0])["busy"] is True


def test_the_work_of_one_call_is_bounded(lab: Lab) -> None:
    clients = [lab.client(b'{"verb": "status"}\n') for _ in range(100)]
    lab.server.attend()
    for client in clients:
        client.setblocking(False)

    answered = 0
    for client in clients:
        with suppress(BlockingIOError):
            answered += bool(client.recv(1))

    assert answered == 16


def test_too_many_connections_a_second_wait(lab: Lab) -> None:
    for _ in range(128):
        lab.client(b'{"verb": "status"}\n')
        lab.server.attend()

    assert lab.server.descriptors() == set()
    assert 0 < (lab.server.due_in_s() or 0) <= 0.001
    lab.now += 1
    assert lab.server.due_in_s() == 0  # since it is not polled for yet
    assert lab.server.descriptors() == {lab.listener.fileno()}


def test_looking_without_anybody_there_uses_nothing_up(lab: Lab) -> None:
    for _ in range(1000):
        lab.server.attend()

    assert lab.server.descriptors() == {lab.listener.fileno()}
    assert lab.server.due_in_s() is None


def test_without_descriptors_it_pauses(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def accept(self) -> None:
            raise OSError(24, "Too many open files")

        def fileno(self) -> int:
            return lab.listener.fileno()

        def close(self) -> None:
            lab.listener.close()

    slow = lab.client()
    lab.server.attend()
    reception = getattr(lab.server, "_reception")  # noqa: B009 -- a private part
    monkeypatch.setattr(reception, "_listener", Full())
    lab.server.attend()

    assert answer_to(slow)["busy"] is True
    assert lab.server.descriptors() == set()
    assert lab.server.due_in_s() == pytest.approx(0.5)


def test_clients_that_are_gone_leave_nothing(lab: Lab) -> None:
    before = open_descriptors()
    for data in (b"", b"{", b'{"verb": "status"}\n', b"x" * 5000):
        for _ in range(10):
            client = connected(lab.folder)
            with suppress(OSError):
                client.send(data)
            client.close()
            lab.server.attend()
    lab.now += 2
    lab.server.attend()

    assert open_descriptors() == before


def test_descriptors_that_are_sent_along_are_not_taken(lab: Lab) -> None:
    client = lab.client()
    before = open_descriptors()
    socket.send_fds(client, [b'{"verb": "status"}\n'], [0, 1, 2])

    lab.server.attend()

    assert answer_to(client)["ok"] is True
    assert open_descriptors() == before


def test_after_the_end_nothing_is_polled_and_all_is_closed(lab: Lab) -> None:
    client = lab.client(b"{")
    lab.server.attend()
    lab.server.sever()
    lab.server.sever()
    lab.server.attend()

    assert lab.server.descriptors() == set()
    assert lab.server.due_in_s() is None
    assert is_closed(client)
