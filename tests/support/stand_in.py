"""A stand-in for egressmon: it answers as it is told, and notes its calls."""

import fcntl
import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any, NamedTuple

TOKEN = "s3cr3t-T0ken_of-this-run-0123456789"  # noqa: S105 -- made up
RUN = "20260101T000000Z-00112233"
HEAD = f"blake3:{'ab' * 32}"
_PROGRAM = """\
#!{python} -I
import fcntl, glob, json, os, pathlib, signal, sys
folder = pathlib.Path({folder!r})
words = sys.argv[1:]
which = next((one for one in ("stop", "mark") if one in words), "start")
given = sys.stdin.read() if "--token-stdin" in words else ""
with open(folder / "calls.jsonl", "a") as file:
    call = {{"words": words, "given": given, "environment": dict(os.environ)}}
    file.write(json.dumps(call) + "\\n")
answer = json.loads((folder / "answers.json").read_text())[which]
if answer.get("hang"):
    alive = open(folder / "alive", "w")
    fcntl.flock(alive, fcntl.LOCK_EX)
    os.write(2, b"hanging\\n")
    signal.pause()
if answer.get("signal"):
    os.kill(os.getpid(), answer["signal"])
if answer.get("full"):
    for path in glob.glob(answer["full"]):
        os.unlink(path)
        os.mkdir(path)
if answer.get("leave"):
    left = os.fork()
    if left == 0:
        signal.pause()
    (folder / "left").write_text(str(left))
sys.stderr.write(answer.get("stderr", ""))
sys.stdout.write(answer["text"] * answer.get("times", 1))
sys.stdout.flush()
os._exit(answer.get("status", 0))
"""


class Called(NamedTuple):
    """One call of the stand-in."""

    words: list[str]
    given: str
    """On its standard input."""
    environment: dict[str, str]


def started(**changes: Any) -> dict[str, Any]:
    """Return what `sidecar --detach --json` answers, with `changes`."""
    return {
        "run": RUN,
        "socket": "/run/egressmon/control.sock",
        "evidence": "/var/lib/egressmon/run",
        "token": TOKEN,
        "pid": 4711,
        **changes,
    }


def ended(verdict: str = "clean", status: int = 0, **changes: Any) -> dict[str, Any]:
    """Return what `sidecar stop` answers, with `changes`."""
    return {
        "ok": True,
        "concluded": True,
        "run": RUN,
        "verdict": verdict,
        "exit_status": status,
        "evidence": "/var/lib/egressmon/run",
        "head": HEAD,
        "records": 12,
        "connections": {},
        "queries": {},
        "incomplete_reasons": [],
        "violations": [],
        **changes,
    }


class StandIn:
    """A program in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Make the program; it starts and ends well until it is told otherwise."""
        folder.mkdir()
        self._folder = folder
        self.path = folder / "egressmon"
        text = _PROGRAM.format(python=sys.executable, folder=str(folder))
        self.path.write_text(text)
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP)
        self._answers: dict[str, dict[str, Any]] = {}
        self.will("start", json.dumps(started()) + "\n")
        self.will("mark", "egressmon: head blake3:00\n")
        self.will("stop", json.dumps(ended()) + "\n")

    def will(self, which: str, text: str, **more: Any) -> None:
        """Answer the next calls of `start`, `mark` or `stop` with `text`."""
        self._answers[which] = {"text": text, **more}
        (self._folder / "answers.json").write_text(json.dumps(self._answers))

    def end(self) -> None:
        """End the process that it left running, if it was told to leave one."""
        left = self._folder / "left"
        if left.exists():
            os.kill(int(left.read_text()), signal.SIGKILL)

    def wait_for_end(self) -> None:
        """Wait until the process that was told to hang has ended."""
        with (self._folder / "alive").open() as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)

    def calls(self) -> list[Called]:
        """Return the calls so far."""
        noted = self._folder / "calls.jsonl"
        if not noted.exists():
            return []
        return [Called(**json.loads(line)) for line in noted.read_text().splitlines()]
