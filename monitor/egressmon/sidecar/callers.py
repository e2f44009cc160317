"""Who is at the other end of a connection, as the kernel says; needs no rights."""

import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from egressmon.sidecar.permissions import Caller

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: unix(7)
_SO_PEERPIDFD = 77  # since Linux 6.5; include/uapi/asm-generic/socket.h


def credentials_of(connection: socket.socket) -> tuple[int, int]:
    """Return the pid and the uid of who connected, or who listens; raises OSError.

    They are those of that moment: a program that it executes later changes nothing.
    """
    raw = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def caller_of(connection: socket.socket, is_inside: Callable[[int], bool]) -> Caller:
    """Return who connected; `is_inside` tells whether a pid is watched. Raises OSError.

    A process that has ended is not pinned: another may have its pid by now.
    """
    pid, uid = credentials_of(connection)
    return _looked_at(pid, uid, _pidfd(connection, pid), is_inside)


def sender_of(pid: int, uid: int, is_inside: Callable[[int], bool]) -> Caller:
    """Return who sent a signal, by what the kernel said of it: `pid` and `uid`."""
    pidfd = None
    if pid > 0:
        with suppress(OSError):  # it has ended
            pidfd = os.pidfd_open(pid)
    return _looked_at(pid, uid, pidfd, is_inside)


def _looked_at(
    pid: int, uid: int, pidfd: int | None, is_inside: Callable[[int], bool]
) -> Caller:
    try:
        inside = False
        if pid > 0:
            with suppress(OSError):  # it has ended
                inside = is_inside(pid)
        # Alive after it was looked at: what was seen is that process's.
        return Caller(pid, uid, inside, pidfd is not None and not _has_ended(pidfd))
    finally:
        if pidfd is not None:
            os.close(pidfd)


# The kernel has kept who connected. Where it cannot tell (before 6.5), the process of
# that pid is taken: it could be another already.
def _pidfd(connection: socket.socket, pid: int) -> int | None:
    if pid <= 0:
        return None
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            return None  # it has ended: EINVAL, later ESRCH
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
