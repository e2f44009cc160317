"""A control socket served by a process without rights, and hostile clients."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from egressmon.sidecar.client import AskError, RefusedError, ask
from egressmon.sidecar.tokens import write_token
from support.control import END, TOKEN, connected

ROOT = Path(__file__).parents[2]
MYSELF = os.getuid()
AS_ROOT = pytest.mark.skipif(MYSELF != 0, reason="asks only a sidecar of root's")


class Server:
    """The process, and how it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.control", folder],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, verb: str, **more: str) -> dict[str, Any]:
        return ask(str(self.folder), {"verb": verb, **more}, 20, MYSELF)

    def told(self) -> dict[str, Any]:
        """Wait for its end, and return what was asked of it."""
        out, _ = self.process.communicate()
        found: dict[str, Any] = json.loads(out)
        return found

    def command(
        self, *words: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `egressmon sidecar` with words."""
        return subprocess.run(
            [
                *(sys.executable, "-I", "-m", "egressmon", "sidecar", *words),
                *("--runtime", str(self.folder)),
            ],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], **environment},
        )


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server]:
    one = Server(tmp_path / "run")
    yield one
    one.process.kill()
    one.process.wait()
    assert one.process.stdout is not None
    one.process.stdout.close()


HOSTILE = [
    b"",
    b"\n",
    b"{",
    b"\0" * 4000,
    b"\0\n",
    b"x" * 1_000_000,
    b"[" * 4000 + b"\n",
    b'{"a":' * 600 + b"1" + b"}" * 600 + b"\n",
    b'{"verb": "stop", "token": "\\ud800"}\n',
    b'{"verb": "stop", "token": "\xed\xa0\x80"}\n',
    b'{"verb": "mark", "phase": "\\u0000"}\n',
    b'{"verb": "mark", "phase": "\\u001b]0;x\\u0007"}\n',
    b'{"verb": "mark", "phase": "' + b"x" * 3000 + b'"}\n',
    b'{"verb": "stop", "token": 1e999}\n',
    b'{"verb": "stop", "token": ' + b"9" * 4000 + b"}\n",
    b'{"verb": "reload", "verb": "kill"}\n',
    b"\xff" * 4095 + b"\n",
]


@pytest.mark.parametrize("half_closed", [False, True])
def test_whatever_is_sent_the_next_is_answered(
    server: Server, *, half_closed: bool
) -> None:
    with ExitStack() as opened:
        for data in HOSTILE:
            client = opened.enter_context(connected(server.folder))
            client.setblocking(False)
            with suppress(OSError):
                client.send(data)
                if half_closed:
                    client.shutdown(socket.SHUT_WR)
            assert server.ask("status")["ok"] is True

    assert server.ask("stop", token=TOKEN)["exit_status"] == 120
    told = server.told()
    assert told["marks"] == []
    assert told["stops"] == [[True, "stopped with the token"]]


def test_a_thousand_connections_at_once(server: Server) -> None:
    with ExitStack() as opened:
        for number in range(1000):
            client = opened.enter_context(connected(server.folder))
            if number % 2:
                with suppress(OSError):
                    client.send(b"{")
        assert server.ask("status")["ok"] is True
        assert server.ask("stop", token=TOKEN)["concluded"] is True

    assert server.told()["stops"] == [[True, "stopped with the token"]]


def test_a_flood_that_does_not_end(server: Server) -> None:
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            with suppress(OSError), connected(server.folder) as client:
                client.send(b'{"verb": "status"}\n')

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert server.ask("status")["ok"] is True
        assert server.ask("stop", token=TOKEN)["concluded"] is True
    finally:
        over.set()
        server.process.kill()
        for thread in threads:
            thread.join()


def test_slow_ones_are_closed_while_others_are_served(server: Server) -> None:
    begun = time.monotonic()
    with connected(server.folder) as slow:
        slow.send(b"{")
        poll = select.poll()
        poll.register(slow, select.POLLIN)
        while not poll.poll(0):
            with suppress(OSError):
                slow.send(b" ", socket.MSG_DONTWAIT)
            assert server.ask("status")["ok"] is True
        assert time.monotonic() - begun >= 1
        assert b"within 1 s" in slow.recv(5000)


def test_a_frozen_server_is_named(server: Server) -> None:
    server.process.send_signal(signal.SIGSTOP)
    os.waitpid(server.process.pid, os.WUNTRACED)
    try:
        with pytest.raises(AskError, match="did not answer"):
            ask(str(server.folder), {"verb": "status"}, 0.1, MYSELF)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert server.ask("status")["ok"] is True


def test_a_killed_server_is_gone_and_the_next_takes_its_place(server: Server) -> None:
    server.process.kill()
    server.process.communicate()
    with pytest.raises(AskError, match="the sidecar has ended"):
        server.ask("status")

    again = Server(server.folder)
    assert again.ask("stop", token=TOKEN)["ok"] is True
    again.told()


def test_a_server_that_dies_before_it_answers(server: Server) -> None:
    server.process.send_signal(signal.SIGSTOP)
    os.waitpid(server.process.pid, os.WUNTRACED)
    found: list[str] = []

    def asking() -> None:
        with pytest.raises(AskError) as caught:
            server.ask("stop", token=TOKEN)
        found.append(str(caught.value))

    thread = threading.Thread(target=asking)
    thread.start()
    server.process.kill()
    server.process.communicate()
    thread.join()

    assert found
    assert "ended" in found[0]


@pytest.mark.skipif(MYSELF == 0, reason="root may stop it")
def test_without_the_token_it_goes_on(server: Server) -> None:
    for token in ("wrong", "", TOKEN[:-1], TOKEN + "x"):
        with pytest.raises(RefusedError, match="token"):
            server.ask("stop", token=token)
    assert server.ask("status")["ok"] is True


@AS_ROOT
def test_the_command_line(server: Server, tmp_path: Path) -> None:
    write_token(str(tmp_path / "token"), TOKEN)
    status = server.command("status")
    as_json = server.command("status", "--json")
    mark = server.command("mark", "build")
    no_mark = server.command("mark", "\x1b[31m")
    reload = server.command("reload")
    stop = server.command("stop", "--json", "--token-file", str(tmp_path / "token"))

    assert (status.returncode, status.stdout) == (0, "verdict: clean\n")
    assert json.loads(as_json.stdout) == {"ok": True, "verdict": "clean"}
    anchor = "egressmon anchor run=R seq=0 head=blake3:0\n"
    assert (mark.returncode, mark.stdout, mark.stderr) == (0, anchor, "")
    assert no_mark.returncode == 2
    assert "cannot be printed" in no_mark.stderr
    assert (reload.returncode, reload.stderr) == (0, "")
    assert (stop.returncode, stop.stderr) == (120, "")
    assert json.loads(stop.stdout) == {"ok": True, **END}
    assert server.told()["marks"] == ["build"]
    gone = server.command("stop")
    assert (gone.returncode, gone.stdout) == (2, "")
    assert gone.stderr.startswith("error: nobody listens at ")


@AS_ROOT
def test_root_without_the_token_gets_no_conclusion(server: Server) -> None:
    wrong = server.command("stop", "--token-stdin", stdin="wrong\n")
    assert wrong.returncode == 1
    assert "not that of this run" in wrong.stderr
    stop = server.command("stop")

    assert stop.returncode == 120
    assert "not concluded" in stop.stderr
    assert server.told()["stops"] == [[False, "stopped by root without the token"]]


@AS_ROOT
def test_a_report_for_github(server: Server, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    stop = server.command(
        *("stop", "--token-stdin", "--report", "github"),
        stdin=f"{TOKEN}\n",
        GITHUB_STEP_SUMMARY=str(page),
    )

    assert stop.returncode == 120
    assert "\n::error title=Egress violation::192.0.2.1:443/tcp by" in stop.stderr
    assert page.read_text().startswith("### egressmon: `violations`")
