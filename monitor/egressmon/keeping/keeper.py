"""The process that keeps the rights: it serves a few requests, and parses nothing.

It is the process that was called: the command is its child, signals come to it, and its
exit status is the run's. What the command wrote, sent or mapped is read by the agent,
a process without any right, that asks this one (docs/decisions/0013).
"""

import errno
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egressmon.files import Kind, open_here
from egressmon.keeping.launch import Launched, send_from_scope
from egressmon.keeping.protocol import (
    CHANGED,
    ELEMENTS,
    MAX_REQUEST,
    READ,
    REQUEST,
    Wanted,
    answer,
)
from egressmon.keeping.signals import SignalRelay
from egressmon.privileges.confinement import BPF, lock, with_rights_of
from egressmon.privileges.privilege import KEEPER, User
from egressmon.probes.engine import Engine
from egressmon.probes.kernel import bpf
from egressmon.sensor.canary import Plan, make_plan, pack_attempts
from egressmon.sensor.scope import Scope

_MAX_PATH = 4096
_MAX_NUMBERS = 1024
_MAX_PIDS = 4096
_INCOMPLETE, _CANNOT = 121, 125


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the keeper keeps."""

    engine: Engine
    scope: Scope
    child: Launched
    relay: SignalRelay
    user: User
    ready_file: str | None
    allow_incomplete: bool
    let_go: Callable[[], None]
    """Closes what is the agent's alone."""
    at_end: Callable[[], str] | None
    """What is done with the user's rights once the agent has ended; says why not."""


class Keeper:
    """Serves one agent, until it ends."""

    def __init__(self, keeping: Keeping, connection: socket.socket) -> None:
        self._keeping = keeping
        self._connection = connection
        self._sizes = _sizes(keeping.engine)
        self._status: int | None = None
        """How the command ended, as waitpid(2) has it; None: it was not waited for."""
        self.is_started = False
        """Whether the command was let go."""
        self._services: dict[int, Callable[[int, bytes], Any]] = {
            Wanted.UPDATE: self._update,
            Wanted.DELETE: self._delete,
            Wanted.TOTALS: self._totals,
            Wanted.SKIPPED: self._skipped,
            Wanted.DISARM: self._disarm,
            Wanted.CANARIES: self._canaries,
            Wanted.READY: self._ready,
            Wanted.GO: self._go,
            Wanted.REAP: self._reap,
            Wanted.PIDS: self._pids,
        }

    def serve(self, agent: int) -> int:
        """Serve the child process `agent` to its end; return the exit status."""
        user = self._keeping.user
        os.setgroups(user.groups)
        os.setegid(user.gid)  # and the file system's; user ids decide on all else
        lock(KEEPER, {BPF})
        self._keeping.relay.start()
        try:
            while self._serve_next():
                pass
        except OSError:
            # It does not take its answers, or is gone in the middle of one.
            os.kill(agent, signal.SIGKILL)
        self._connection.close()
        _, status = os.waitpid(agent, 0)
        return self._concluded(status)

    def _serve_next(self) -> bool:
        request = self._connection.recv(MAX_REQUEST)
        if len(request) < REQUEST.size:
            return False
        wanted, detail = REQUEST.unpack_from(request)
        rest = request[REQUEST.size :]
        if wanted == Wanted.OPEN:
            self._hand_over(detail, rest)
            return True
        try:
            reply = answer(0, self._services[wanted](detail, rest))
        except Exception as error:  # noqa: BLE001 -- the agent is told, whatever it is
            reply = answer(_code_of(error))
        self._connection.send(reply, socket.MSG_DONTWAIT)
        return True

    def _hand_over(self, kind: int, path: bytes) -> None:
        try:
            with with_rights_of(self._keeping.user):
                descriptor = _opened(kind, path)
        except (OSError, ValueError) as error:
            self._connection.send(answer(_code_of(error)), socket.MSG_DONTWAIT)
            return
        try:
            socket.send_fds(
                self._connection, [answer(0)], [descriptor], socket.MSG_DONTWAIT
            )
        finally:
            os.close(descriptor)

    def _update(self, which: int, data: bytes) -> None:
        name = CHANGED[which]
        table, key, value = self._sizes[name]
        if len(data) != key + value:
            raise ValueError(len(data))
        bpf.update(table, data[:key], data[key:])

    def _delete(self, which: int, data: bytes) -> None:
        table, key, _ = self._sizes[CHANGED[which]]
        if len(data) != key:
            raise ValueError(len(data))
        bpf.delete(table, data)

    def _totals(self, which: int, data: bytes) -> list[list[int]]:
        slots, width = ELEMENTS.unpack(data) if len(data) == ELEMENTS.size else (0, 0)
        if not 0 < slots * width <= _MAX_NUMBERS:
            raise ValueError(slots)
        return self._keeping.engine.parts[0].totals(READ[which], slots, width)

    def _skipped(self, part: int, _data: bytes) -> dict[str, int | None]:
        return self._keeping.engine.parts[part].skipped()

    def _disarm(self, _detail: int, _data: bytes) -> None:
        self._keeping.engine.arm_canary(None)

    def _canaries(self, _detail: int, _data: bytes) -> list[Any]:
        plan = make_plan()
        self._keeping.engine.arm_canary(plan.for_probes())
        attempts = send_from_scope(self._keeping.scope, plan)
        return [_told(plan), json.loads(pack_attempts(attempts))]

    def _ready(self, _detail: int, _data: bytes) -> None:
        if self._keeping.ready_file is not None:
            with with_rights_of(self._keeping.user):
                Path(self._keeping.ready_file).touch()

    def _go(self, _detail: int, _data: bytes) -> int:
        if self.is_started:
            raise ValueError("once")
        self.is_started = True
        return self._keeping.child.go()

    def _reap(self, _detail: int, _data: bytes) -> int:
        if not self.is_started:
            raise ValueError("not yet")
        if self._status is None:
            _, self._status = os.waitpid(self._keeping.child.pid, 0)
            self._keeping.relay.forget()
        return self._status

    def _pids(self, _detail: int, _data: bytes) -> list[int]:
        scope = self._keeping.scope
        return scope.pids()[:_MAX_PIDS] if scope.is_populated() else []

    # The agent has ended: as it should, or not.
    def _concluded(self, status: int) -> int:
        if self.is_started:
            self._reap(0, b"")
        else:
            self._keeping.child.abandon()
        failure = self._last_thing()
        self._keeping.engine.close()
        self._keeping.scope.remove()
        if failure:
            _print(f"error: {failure}\nhint: the evidence is whole\n")
            return _INCOMPLETE
        if os.WIFEXITED(status):
            return os.WEXITSTATUS(status)
        return self._without_agent(os.WTERMSIG(status))

    def _last_thing(self) -> str:
        if self._keeping.at_end is None:
            return ""
        with with_rights_of(self._keeping.user):
            return self._keeping.at_end()

    def _without_agent(self, number: int) -> int:
        what = "the evidence has no end" if self.is_started else "nothing was started"
        text = (
            f"egressmon: incomplete: its reading process was ended by signal {number}; "
            f"{what}\n"
        )
        _print(text)
        if not self.is_started:
            return _CANNOT
        if self._status is None or not self._keeping.allow_incomplete:
            return _INCOMPLETE
        ended = os.waitstatus_to_exitcode(self._status)
        return ended if ended >= 0 else 128 - ended


def _print(text: str) -> None:
    with suppress(OSError):
        os.write(2, text.encode("utf-8", "backslashreplace"))


def _code_of(error: Exception) -> int:
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    return errno.EINVAL if isinstance(error, LookupError | ValueError) else errno.EIO


def _told(plan: Plan) -> list[Any]:
    return [plan.port, str(plan.inet), str(plan.inet6)]


# Of each map that may be changed: its descriptor, and how long a key and a value are.
def _sizes(engine: Engine) -> dict[str, tuple[int, int, int]]:
    maps = {name: number for part in engine.parts for name, number in part.maps.items()}
    return {
        name: (maps[name], *bpf.element_sizes(maps[name]))
        for name in CHANGED
        if name in maps
    }


# With the rights of the user that the command runs as: the agent gets at nothing that
# the user could not read.
def _opened(kind: int, path: bytes) -> int:
    if not path.startswith(b"/") or len(path) > _MAX_PATH or b"\0" in path:
        raise ValueError(path)
    return open_here(path, Kind(kind))
