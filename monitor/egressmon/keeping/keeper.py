"""The keeper: the process that keeps rights, serves a few requests, parses nothing.

It is the process that the user called: the command is its child, signals come to it,
and its exit status is that of the run. Everything that the command wrote, sent or
mapped is read by another process, the agent. That has no rights and asks the keeper for
what needs them (docs/decisions/0013).
"""

import errno
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from egressmon import host
from egressmon.keeping.launch import send_from_scope
from egressmon.keeping.lineage import Lineage
from egressmon.keeping.maps import Maps
from egressmon.keeping.opening import Opening
from egressmon.keeping.protocol import COUNTS, MAX_REQUEST, REQUEST, Service, answer
from egressmon.keeping.setup import KeeperSetup
from egressmon.keeping.signals import ENDING
from egressmon.privileges.confinement import BPF, lock, with_rights_of
from egressmon.privileges.privilege import KEEPER
from egressmon.probes.engine import Engine
from egressmon.probes.loaders.loading import to_store
from egressmon.sensor.canary import Plan, make_plan, pack_attempts
from egressmon.startup import dispositions, patience
from egressmon.startup.stored_types import open_folder, store

_LINEAGE = "lineage"
_MAX_PIDS = 4096
_INCOMPLETE, _CANNOT = 121, 125
_IN_ORDER = frozenset({0, 120, _INCOMPLETE})
"""How an agent ends whose evidence has its end."""
_BY_INTERRUPT = 128 + signal.SIGINT


class Keeper:
    """Serves one agent until that ends."""

    def __init__(self, setup: KeeperSetup, connection: socket.socket) -> None:
        self._setup = setup
        self._connection = connection
        self._lineage = _lineage(setup.engine)
        self._status: int | None = None
        """The command's wait status (waitpid(2)); None until it was waited for."""
        self.is_started = False
        """Whether the command was started."""
        self._interrupted_by: int | None = None
        """The signal that ended the run before the command was executed."""
        maps, opening = Maps(setup), Opening(setup)
        self._services: dict[int, Callable[[int, bytes], Any]] = {
            Service.UPDATE: maps.update,
            Service.DELETE: maps.delete,
            Service.TOTALS: maps.totals,
            Service.SKIPPED: maps.skipped,
            Service.DISARM: self._disarm,
            Service.CANARIES: self._canaries,
            Service.READY: self._ready,
            Service.GO: self._go,
            Service.REAP: self._reap,
            Service.PIDS: self._pids,
            Service.END: self._end,
            Service.ATTACHED: self._attached,
            Service.REPLACE: opening.replace,
            Service.NOTIFY: self._notify,
            Service.SWEEP: self._sweep,
        }
        self._opening: dict[int, Callable[[int, bytes], int]] = {
            Service.OPEN: opening.open,
            Service.OPEN_SEGMENT: opening.open_segment,
            Service.REOPEN: opening.reopen_segment,
            Service.OPEN_POLICY: opening.open_policy,
        }

    def serve(self, agent: int) -> int:
        """Serve the child process `agent` until it ends; return the exit status."""
        user = self._setup.user
        # Files are opened with the user's groups; the user id is set for each file.
        os.setgroups(user.groups)
        os.setegid(user.gid)
        lock(KEEPER, {BPF})
        self._setup.relay.start()
        try:
            while self._serve_next():
                pass
            if self._interrupted_by is not None:
                os.kill(agent, signal.SIGKILL)  # it would only say that we are gone
        except OSError:
            # The agent does not read its answers, or has just ended.
            os.kill(agent, signal.SIGKILL)
        self._connection.close()
        _, status = os.waitpid(agent, 0)
        return self._end_run(status)

    def _serve_next(self) -> bool:
        request = self._connection.recv(MAX_REQUEST)
        if len(request) < REQUEST.size:
            return False
        service, detail = REQUEST.unpack_from(request)
        rest = request[REQUEST.size :]
        if service in self._opening:
            self._send_opened(service, detail, rest)
            return True
        if service == Service.GO and not self._setup.relay.begin():
            self._interrupted_by = self._setup.relay.interrupted_by
            return False
        try:
            reply = answer(0, self._services[service](detail, rest))
        except Exception as error:  # noqa: BLE001 -- the agent is told, whatever it is
            reply = answer(_code_of(error))
        self._connection.send(reply, socket.MSG_DONTWAIT)
        return self._interrupted_by is None

    def _send_opened(self, service: int, detail: int, rest: bytes) -> None:
        try:
            descriptor = self._opening[service](detail, rest)
        except (OSError, ValueError) as error:
            self._connection.send(answer(_code_of(error)), socket.MSG_DONTWAIT)
            return
        try:
            socket.send_fds(
                self._connection, [answer(0)], [descriptor], socket.MSG_DONTWAIT
            )
        finally:
            os.close(descriptor)

    def _notify(self, state: int, counts: bytes) -> None:
        connections, violations = COUNTS.unpack(counts)
        if self._setup.notify is not None:
            self._setup.notify(state, connections, violations)

    def _disarm(self, _detail: int, _data: bytes) -> None:
        self._setup.engine.arm_canary(None)

    def _canaries(self, _detail: int, _data: bytes) -> list[Any]:
        plan = make_plan()
        self._setup.engine.arm_canary(plan.for_probes())
        attempts = send_from_scope(self._setup.scope, plan)
        return [_as_json(plan), json.loads(pack_attempts(attempts))]

    def _ready(self, _detail: int, _data: bytes) -> None:
        if self._setup.ready_file is not None:
            with with_rights_of(self._setup.user):
                Path(self._setup.ready_file).touch()

    def _go(self, _detail: int, _data: bytes) -> int:
        if self.is_started:
            raise ValueError("already started")
        self.is_started = True
        if self._setup.kept is not None:
            self._setup.kept.begin(self._setup.engine)
        try:
            return self._setup.child.go()
        except OSError:
            self._note_interruption()
            raise

    # A signal that came at the last moment has ended the child before its exec.
    def _note_interruption(self) -> None:
        status = self._reap(0, b"")
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in ENDING:
            self._interrupted_by = os.WTERMSIG(status)

    def _reap(self, _detail: int, _data: bytes) -> int:
        if not self.is_started:
            raise ValueError("not started yet")
        if self._status is None:
            _, self._status = os.waitpid(self._setup.child.pid, 0)
            self._setup.relay.forget()
        return self._status

    def _pids(self, _detail: int, _data: bytes) -> list[int]:
        scope = self._setup.scope
        return scope.pids()[:_MAX_PIDS] if scope.is_populated() else []

    def _end(self, _detail: int, _data: bytes) -> None:
        if not self._setup.is_standing:
            raise ValueError("a command ends by itself")
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._setup.child.pidfd, signal.SIGKILL)

    def _sweep(self, _detail: int, _data: bytes) -> int:
        return self._lineage.sweep() if self._lineage is not None else 0

    def _attached(self, _detail: int, _data: bytes) -> tuple[int, int]:
        return self._setup.engine.attached()

    # What remains to be done after the agent has ended, whether or not as it should.
    def _end_run(self, status: int) -> int:
        if self._setup.is_standing and self._status is None:
            self._end(0, b"")  # the agent may have been killed: nobody else would
        if self.is_started:
            self._reap(0, b"")
        else:
            self._setup.child.abandon()
            if self._setup.segments is not None:
                self._setup.segments.forget_run()
        failure = self._call_at_end()
        if self.is_started:
            _keep_types(self._setup.engine)
        self._end_keeping(status)
        self._setup.engine.close()
        if self._setup.ends_scope:
            self._setup.scope.kill()
        self._setup.scope.remove()
        if self._setup.release is not None:
            self._setup.release()
        if self._interrupted_by is not None:
            dispositions.say_interrupted(": the command was not started")
            dispositions.end_by(self._interrupted_by)
        if failure:
            patience.say(f"error: {failure}\nhint: the evidence is whole\n")
            return _INCOMPLETE
        if os.WIFEXITED(status):
            return self._as_the_command(os.WEXITSTATUS(status))
        return self._status_of_killed_agent(os.WTERMSIG(status))

    def _end_keeping(self, status: int) -> None:
        if self._setup.kept is None:
            return
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else _CANNOT
        self._setup.kept.end(
            began=self.is_started,
            in_order=code in _IN_ORDER,
            by_signal=self._setup.relay.was_asked_to_end,
        )

    # A shell ends its script or loop if what it waited for was ended by SIGINT, but not
    # if that exits with 130.
    def _as_the_command(self, status: int) -> int:
        by_interrupt = self._status is not None and self._status == signal.SIGINT
        if by_interrupt and status == _BY_INTERRUPT:
            dispositions.end_by(signal.SIGINT)
        return status

    def _call_at_end(self) -> str:
        if self._setup.at_end is None:
            return ""
        with with_rights_of(self._setup.user):
            return self._setup.at_end()

    def _status_of_killed_agent(self, number: int) -> int:
        what = "the evidence has no end" if self.is_started else "nothing was started"
        text = (
            f"egressmon: incomplete: its reading process was ended by signal {number}; "
            f"{what}\n"
        )
        patience.say(text)
        if not self.is_started:
            return _CANNOT
        if self._status is None or not self._setup.allow_incomplete:
            return _INCOMPLETE
        ended = os.waitstatus_to_exitcode(self._status)
        return ended if ended >= 0 else 128 - ended


# For the next run, which starts faster with it (0.1 s, once for each kernel).
def _keep_types(engine: Engine) -> None:
    with suppress(Exception):  # the next run can do without
        if engine.types_key is not None:
            open_folder()  # before the work
            if (data := to_store(engine)) is not None:
                store(engine.types_key, data)


def _code_of(error: Exception) -> int:
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    return errno.EINVAL if isinstance(error, LookupError | ValueError) else errno.EIO


def _as_json(plan: Plan) -> list[Any]:
    return [plan.port, str(plan.inet), str(plan.inet6)]


def _lineage(engine: Engine) -> Lineage | None:
    tables = (part.maps[_LINEAGE] for part in engine.parts if _LINEAGE in part.maps)
    table = next(tables, None)
    return Lineage(table, host.is_there) if table is not None else None
