"""Start the command in the scope, in the same state as if its caller had started it."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from egressmon.errors import ScopeError
from egressmon.privileges.confinement import (
    end_with_parent,
    refuse_new_privileges,
)
from egressmon.privileges.privilege import User, drop_to
from egressmon.sensor.canary import (
    Attempt,
    Plan,
    pack_attempts,
    send_canaries,
    unpack_attempts,
)
from egressmon.sensor.scope import Scope
from egressmon.startup import dispositions, environment, limits, streams
from egressmon.values import dataclass

FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""Signals that egressmon passes on to the command if it gets them."""

_GO = b"g"
_READY = b"r"  # the child's signals are the command's: none ends it unnoticed any more
_SHELL = b"/bin/sh"


@dataclass(slots=True)
class Launched:
    """A child process that waits in the scope to be told to become the command."""

    pid: int
    pidfd: int
    _report: int
    """The reading end of what it says of the canaries that it sent."""
    _go_pipe: int
    """The writing end: a byte starts the command, closing it ends the child."""
    _failure_pipe: int
    """The reading end of what the child says at its exec, which closes it.

    That is `_READY`, and the errno if the exec failed."""

    def attempts(self) -> list[Attempt]:
        """Wait until the child has sent the canaries, and return them; call it once.

        Raises `ScopeError` if the child could not enter the scope.
        """
        return _attempts(self._report)

    def forget_attempts(self) -> None:
        """Close the pipe that `attempts` reads, in a process that does not call it."""
        os.close(self._report)

    def forget(self) -> None:
        """Close the other pipes, in a process that calls neither `go` nor `abandon`."""
        os.close(self._go_pipe)
        os.close(self._failure_pipe)

    def go(self) -> int:
        """Let the child execute the command; return 0, or the errno if that failed.

        Raises OSError if the child has already ended.
        """
        try:
            os.write(self._go_pipe, _GO)
        finally:
            os.close(self._go_pipe)
        told = _read_all(self._failure_pipe)
        if not told:
            raise BrokenPipeError(errno.EPIPE, "it ended before its exec")
        return int(told.removeprefix(_READY) or 0)

    def abandon(self) -> None:
        """End the child without running the command."""
        os.close(self._go_pipe)
        os.close(self._failure_pipe)
        os.waitpid(self.pid, 0)


def launch(  # noqa: PLR0913 -- what the command is started with
    scope: Scope,
    plan: Plan,
    user: User,
    command: list[bytes],
    *,
    may_gain: bool,
    only_waits: bool = False,
) -> Launched:
    """Fork the command's process, which enters `scope`, sends canaries and waits.

    Nobody waits for it here: to enter a cgroup takes the kernel some 15 ms (it waits
    until all processors have passed an idle moment). Once started, `command` runs as
    `user`; with `may_gain` it may gain rights by executing set-uid programs (sudo). One
    that `only_waits` ends with the caller, however that ends.
    """
    go_read, go_write = os.pipe()
    report_read, report_write = os.pipe()
    failure_read, failure_write = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        for fd in (go_write, report_read, failure_read):
            os.close(fd)

        def become() -> None:
            if os.read(go_read, 1) != _GO:
                os._exit(0)  # abandon() was called, or the parent ended
            waits_for = parent if only_waits else None
            _become_command(user, command, failure_write, waits_for, may_gain=may_gain)

        _enter_and_report(scope, plan, report_write, become)
    for fd in (go_read, report_write, failure_write):
        os.close(fd)
    pidfd = os.pidfd_open(pid)
    return Launched(pid, pidfd, report_read, go_write, failure_read)


def send_from_scope(scope: Scope, plan: Plan) -> list[Attempt]:
    """Fork a process that enters `scope`, sends the canaries of `plan` and ends."""
    report_read, report_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(report_read)
        _enter_and_report(scope, plan, report_write, lambda: os._exit(0))
    os.close(report_write)
    try:
        return _attempts(report_read)
    finally:
        os.waitpid(pid, 0)


# In the child: enter the scope, send the canaries, write the attempts (or the errno of
# entering) to the pipe `report`, then call `proceed`.
def _enter_and_report(
    scope: Scope, plan: Plan, report: int, proceed: Callable[[], None]
) -> NoReturn:
    status = 125
    try:
        scope.enter()
        os.write(report, pack_attempts(send_canaries(plan)))
        os.close(report)
        proceed()
    except OSError as error:
        os.write(report, str(error.errno).encode())
    finally:
        os._exit(status)


def _become_command(
    user: User,
    command: list[bytes],
    failure: int,
    waits_for: int | None,
    *,
    may_gain: bool,
) -> None:
    try:
        dispositions.restore()
        limits.restore()
        os.write(failure, _READY)
        if not may_gain:
            refuse_new_privileges()
        drop_to(user)
        if waits_for is not None:
            end_with_parent(signal.SIGKILL)
            if os.getppid() != waits_for:
                os._exit(0)  # it ended before
        streams.close_at_exec()
        path = user.environment.get(b"PATH", os.defpath.encode())
        _exec(command, path, user.block)
    except BaseException as error:  # noqa: BLE001 -- the parent is told, whatever it is
        code = getattr(error, "errno", None) or errno.EIO
        os.write(failure, str(code).encode())
        os._exit(status_of(code))


# As execvp(3): execute the first match in `path`; EACCES only if no other match runs.
def _exec(command: list[bytes], path: bytes, block: environment.Block) -> None:
    name = command[0]
    if b"/" in name or not name:  # execve(2) fails with ENOENT for an empty name
        _exec_file(name, command, block)
    denied: OSError | None = None
    for folder in path.split(b":"):
        try:
            _exec_file((folder or b".") + b"/" + name, command, block)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = error
    raise denied or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


# As execvp(3): a file that is no binary and names no interpreter is a shell script.
def _exec_file(file: bytes, command: list[bytes], block: environment.Block) -> NoReturn:
    try:
        environment.execve(file, command, block)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    environment.execve(_SHELL, [_SHELL, file, *command[1:]], block)


def status_of(code: int) -> int:
    """Return the exit status for a command whose exec failed with errno `code`."""
    return 127 if code in {errno.ENOENT, errno.ENOTDIR} else 126


def _attempts(report: int) -> list[Attempt]:
    data = _read_all(report)
    if data[:1] == b"[":
        return unpack_attempts(data)
    why = os.strerror(int(data)) if data else "the process died"
    raise ScopeError(
        f"the scope's cgroup could not be entered: {why}",
        "run as root, with cgroup v2 writable",
    )


def _read_all(fd: int) -> bytes:
    data = b""
    while part := os.read(fd, 65536):
        data += part
    os.close(fd)
    return data


def flush_output() -> None:
    """Flush Python's output buffers, so that no forked process prints them again."""
    sys.stdout.flush()
    sys.stderr.flush()
