"""A process that attaches uprobes after the agent has dropped the right to.

An interpreter may start long after the agent has dropped its capabilities, and to
attach uprobes takes CAP_SYS_ADMIN (with CAP_PERFMON alone it is refused on Linux 6.1,
6.18 and 7.3). This process keeps that capability, and gets open files from the agent.
Where in a file the probes belong is found by a child for each file, which has no
rights: a probe elsewhere would break whatever runs the file, and a hostile file may
have deceived the agent.
"""

import errno
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from egressmon.privileges.confinement import PERF, become_nobody, lock, unused_uid
from egressmon.privileges.privilege import ATTACHER
from egressmon.values import dataclass

_REQUEST = b"f"  # a file comes with it
_PLACE = struct.Struct("=Q")
_MAX_PLACES = 8
_FINDING_S = 5.0
_MAX_FILES = 256
_ANSWER = struct.Struct("=i")  # an error number; 0: attached
_PATIENCE_S = 10.0
Places: TypeAlias = tuple[int, ...]
Watch: TypeAlias = Callable[[str, Places], None]
Find: TypeAlias = Callable[[int], Places | None]


class Attacher:
    """The connection to the process, which ends with its probes when this is closed."""

    def __init__(self, find: Find, watch: Watch, needed: tuple[int, ...]) -> None:
        """Start the process; call it before threads are started.

        `find` returns where in an open file, which it closes, probes belong. `watch`
        attaches them to the file at a path until the process ends; it may raise
        OSError. `needed` are the descriptors that `watch` uses. Raises OSError.
        """
        self._connection, served = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        uid = unused_uid()
        try:
            self.pid = os.fork()
            """The id of the process."""
            if not self.pid:
                _serve(_Service(served, find, watch), needed, uid)
        except OSError:
            self._connection.close()
            raise
        finally:
            served.close()

    def ask(self, file: int) -> None:
        """Ask for probes on `file`, a descriptor. Raises OSError."""
        socket.send_fds(self._connection, [_REQUEST], [file])

    def answer(self, *, wait: bool) -> int | None:
        """Return the error number of the oldest unanswered request, or 0 (attached).

        Returns None if there is no answer yet and `wait` is false. Raises OSError if
        there will be none.
        """
        self._connection.settimeout(_PATIENCE_S if wait else 0)
        try:
            data = self._connection.recv(_ANSWER.size)
        except BlockingIOError:
            return None
        if len(data) != _ANSWER.size:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return int(_ANSWER.unpack(data)[0])

    def is_gone(self) -> bool:
        """Tell whether the process has ended, and its probes with it."""
        poller = select.poll()
        poller.register(self._connection, 0)  # an end is told in any case: poll(2)
        return bool(poller.poll(0))

    def close(self) -> None:
        """End the process and its probes, without waiting for the kernel (0.1 s).

        Whoever adopts the process reaps it.
        """
        self._connection.close()


# In the child, which must not go on from here, whatever happens.
def _serve(service: "_Service", needed: tuple[int, ...], uid: int) -> NoReturn:
    try:
        # It ends with the agent, which a signal to both is meant for.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        _close_all_but(service.connection.fileno(), *needed)
        become_nobody(uid, ATTACHER, {PERF})
        while service.attach_next():
            pass
    finally:
        os._exit(0)


# A pipe that the agent writes to would stay open for its reader.
def _close_all_but(*kept: int) -> None:
    last = -1
    for descriptor in sorted(kept):
        if descriptor > last + 1:  # os.closerange(0, 0) would close them all
            os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX"))


@dataclass(slots=True)
class _Service:
    connection: socket.socket
    find: Find
    watch: Watch
    served: int = 0

    def attach_next(self) -> bool:
        data, files, _, _ = socket.recv_fds(self.connection, len(_REQUEST), 1)
        if data != _REQUEST or len(files) != 1:
            return False
        self.served += 1
        error = 0
        try:
            self._attach(files[0])
        except OSError as refused:
            error = refused.errno or -1
        os.close(files[0])
        self.connection.send(_ANSWER.pack(error))
        return True

    def _attach(self, file: int) -> None:
        if self.served > _MAX_FILES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        places = _found(self.find, file)
        if places is None:
            raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))
        self.watch(f"/proc/self/fd/{file}", places)


def _found(find: Find, file: int) -> Places | None:
    answer, told = os.pipe()
    child = os.fork()
    if not child:
        _find_in(find, file, told)
    os.close(told)
    try:
        ready, _, _ = select.select([answer], [], [], _FINDING_S)
        data = os.read(answer, _MAX_PLACES * _PLACE.size) if ready else b""
    finally:
        os.close(answer)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not data or len(data) % _PLACE.size:
        return None
    return tuple(place for (place,) in _PLACE.iter_unpack(data))


# In the child's child: what the file holds can deceive it about this file alone.
def _find_in(find: Find, file: int, told: int) -> NoReturn:
    try:
        _close_all_but(file, told)
        lock(())
        places = find(file)
        if places is not None:
            os.write(told, b"".join(map(_PLACE.pack, places)))
    finally:
        os._exit(0)
