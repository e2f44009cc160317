"""A process that attaches probes to interpreters, as the agent gives up the right to.

An interpreter may be started long after the agent has dropped its capabilities, and to
attach uprobes takes CAP_SYS_ADMIN (with CAP_PERFMON alone it is refused on Linux 6.1,
6.18 and 7.3). What keeps that capability reads nothing but file descriptors and
offsets, which come from the agent.
"""

import errno
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from egressmon.privilege import ATTACHER, drop_capabilities

_REQUEST = struct.Struct("=QQ")  # where in the file that comes with it
_ANSWER = struct.Struct("=i")  # an error number; 0: attached
_PATIENCE_S = 10.0
Watch: TypeAlias = Callable[[str, tuple[int, int]], None]


class Attacher:
    """Asks the process to attach probes; they end as it does, when this is closed."""

    def __init__(self, watch: Watch, needed: tuple[int, ...]) -> None:
        """Start the process; call it before threads are started.

        Watch attaches the probes to the file at a path, and leaves it to the process's
        end to detach them; it may raise OSError. Needed are descriptors that it uses.
        Raises OSError.
        """
        self._connection, served = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        try:
            if not os.fork():
                _serve(served, watch, needed)
        except OSError:
            self._connection.close()
            raise
        finally:
            served.close()

    def ask(self, file: int, places: tuple[int, int]) -> None:
        """Have the probes attached at places in the open file. Raises OSError."""
        socket.send_fds(self._connection, [_REQUEST.pack(*places)], [file])

    def answer(self, *, wait: bool) -> int | None:
        """Return what became of what was asked first: an error number; 0: attached.

        None: it is not known yet. Raises OSError where it will not be known.
        """
        self._connection.settimeout(_PATIENCE_S if wait else 0)
        try:
            data = self._connection.recv(_ANSWER.size)
        except BlockingIOError:
            return None
        if len(data) != _ANSWER.size:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return int(_ANSWER.unpack(data)[0])

    def close(self) -> None:
        """End the probes; it takes the kernel a tenth of a second, which nobody waits.

        The process is left to whoever adopts it.
        """
        self._connection.close()


# In the child, which must not go on from here, whatever happens.
def _serve(
    connection: socket.socket, watch: Watch, needed: tuple[int, ...]
) -> NoReturn:
    try:
        # It ends with the agent, which a signal to both is meant for.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        _close_all_but(connection.fileno(), *needed)
        drop_capabilities(ATTACHER)
        while _attach_next(connection, watch):
            pass
    finally:
        os._exit(0)


# A pipe that the agent writes to would stay open for its reader.
def _close_all_but(*kept: int) -> None:
    last = -1
    for descriptor in sorted(kept):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX"))


def _attach_next(connection: socket.socket, watch: Watch) -> bool:
    data, files, _, _ = socket.recv_fds(connection, _REQUEST.size, 1)
    if len(data) != _REQUEST.size or len(files) != 1:
        return False
    error = 0
    try:
        watch(f"/proc/self/fd/{files[0]}", _REQUEST.unpack(data))
    except OSError as refused:
        error = refused.errno or -1
    os.close(files[0])
    connection.send(_ANSWER.pack(error))
    return True
