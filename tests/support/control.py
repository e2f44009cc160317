"""A sidecar's control socket with nothing behind it: the acts are noted."""

import json
import os
import select
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egressmon.sidecar.control import ControlServer
from egressmon.sidecar.listening import Place
from egressmon.sidecar.permissions import Caller
from egressmon.sidecar.tokens import digest_of

TOKEN = "a-token_for-tests"  # noqa: S105
SOMEBODY = 64321
END: dict[str, Any] = {
    "concluded": True,
    "run": "0190-run",
    "verdict": "violations",
    "exit_status": 120,
    "evidence": "/var/lib/evidence",
    "head": "blake3:00",
    "records": 12,
    "connections": {"allowed": 3, "violation": 2},
    "queries": {"allowed": 1},
    "incomplete_reasons": [],
    "violations": [
        {"destination": "192.0.2.1:443/tcp", "process": "curl", "reason": "no rule"}
    ],
}


@dataclass
class Noted:
    """Acts that do nothing, and what was asked of them."""

    marks: list[tuple[str, Caller]] = field(default_factory=list[tuple[str, Caller]])
    stops: list[tuple[bool, str]] = field(default_factory=list[tuple[bool, str]])
    attempts: list[tuple[str, int, int]] = field(
        default_factory=list[tuple[str, int, int]]
    )
    """Verb, uid and count."""
    reloads: int = 0
    why_no_reload: str = ""
    state: dict[str, Any] = field(default_factory=lambda: {"verdict": "clean"})
    failure: Exception | None = None

    def status(self) -> dict[str, Any]:
        """Return the state, or fail."""
        if self.failure is not None:
            raise self.failure
        return self.state

    def mark(self, name: str, caller: Caller) -> dict[str, Any]:
        """Note it."""
        self.marks.append((name, caller))
        return {"run": "R", "records": len(self.marks), "head": "blake3:0"}

    def stop(self, caller: Caller, *, is_concluded: bool, reason: str) -> None:
        """Note it."""
        del caller
        self.stops.append((is_concluded, reason))

    def policies(self) -> list[str]:
        """Return the digests of the policies so far."""
        return ["abc"]

    def reload(self, caller: Caller, reason: str) -> str:
        """Note it."""
        del caller, reason
        self.reloads += 1
        return self.why_no_reload

    def attempt(self, verb: str, caller: Caller, reason: str, count: int) -> None:
        """Note it."""
        del reason
        self.attempts.append((verb, caller.uid, count))


def poll(server: ControlServer) -> None:
    """Wait until the server has something to do, and let it do it."""
    waiting = select.poll()
    for descriptor in server.descriptors():
        waiting.register(descriptor, select.POLLIN)
    due = server.due_in_s()
    waiting.poll(None if due is None else due * 1000 + 1)
    server.attend()


def serve(folder: str) -> None:
    """Serve in `folder`, as a user without rights, until a stop; then say what was."""
    place = Place(folder)
    starter = os.getuid()
    if starter == 0:
        os.setgroups([])
        os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
        os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
    acts = Noted()
    server = ControlServer(
        place.listener, digest_of(TOKEN), starter, lambda _: False, acts
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not acts.stops:
        poll(server)
    concluded = any(with_token for with_token, _ in acts.stops)
    server.answer_stop({**END, "concluded": concluded})
    server.sever()
    marks = [name for name, _ in acts.marks]
    told = {"marks": marks, "stops": acts.stops, "attempts": acts.attempts}
    sys.stdout.write(f"{json.dumps(told)}\n")


def open_descriptors() -> int:
    """Return how many descriptors this process has open, the one to look included."""
    return len([*Path("/proc/self/fd").iterdir()])


def connected(folder: Path) -> socket.socket:
    """Return a new connection to the control socket in `folder`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(folder / "control.sock"))
    except OSError:
        connection.close()
        raise
    return connection


if __name__ == "__main__":
    serve(sys.argv[1])
