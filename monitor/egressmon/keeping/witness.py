"""A process that tells whether a signal was sent to the whole process group.

The command is in the caller's process group, as the keeper is. A signal to the group
(Ctrl-C, timeout(1), a CI system that cancels) reaches the command by itself, and must
not be passed on; a signal to the keeper alone must be. Nothing in siginfo(7) tells them
apart. So the witness stands in the group, can be sent the same signals as the command,
and gets what the keeper gets if and only if the group got it.

The kernel signals the youngest member of a group first (attach_pid, kill_pgrp_info):
what the keeper got with the group, its witness has got before.
"""

import os
import signal
import socket
import struct
from contextlib import suppress
from typing import NoReturn

from egressmon.privileges.confinement import (
    be_signalled_as,
    end_with_parent,
    unused_uid,
)
from egressmon.privileges.privilege import User

_MASK = struct.Struct("=Q")
_PATIENCE_S = 1.0


class Witness:
    """The process, which ends when this connection is closed."""

    def __init__(self, user: User) -> None:
        """Start it; it can be signalled by whoever can signal a process of `user`.

        Call it before threads are started, and after the process group is final. Raises
        OSError and `PrivilegeError`.
        """
        uid = unused_uid()
        self._connection, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self._connection.settimeout(_PATIENCE_S)
        self._is_late = False
        self.pid = os.fork()
        """The id of the process."""
        if not self.pid:
            _stand_by(theirs, uid, user.uid)
        theirs.close()

    def seen(self) -> frozenset[int] | None:
        """Return the signals that the group got since the last call.

        None if the process is gone: the command's user can end it. One that does not
        answer in time is not asked again: its answer could be to an earlier question.
        """
        if self._is_late:
            return None
        try:
            self._connection.send(b"?")
            (mask,) = _MASK.unpack(self._connection.recv(_MASK.size))
        except (OSError, struct.error):
            self._is_late = True
            return None
        return frozenset(number for number in range(1, 65) if mask >> number - 1 & 1)

    def close(self) -> None:
        """Let go of the process; it ends once all that hold it have let go."""
        self._connection.close()


# In the child, which must not go on from here, whatever happens. All signals are
# blocked: they wait until they are asked for.
def _stand_by(connection: socket.socket, uid: int, signalled_as: int) -> NoReturn:
    try:
        signals = signal.valid_signals()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        os.chdir("/")
        _close_all_but(connection.fileno())
        be_signalled_as(uid, signalled_as)
        end_with_parent(signal.SIGKILL)  # also where a signal to the group stopped us
        while connection.recv(1):
            connection.send(_MASK.pack(_take(signals)))
    finally:
        os._exit(0)


def _take(signals: set[signal.Signals]) -> int:
    mask = 0
    while (info := signal.sigtimedwait(signals, 0)) is not None:
        mask |= 1 << info.si_signo - 1
    return mask


def _close_all_but(kept: int) -> None:
    os.closerange(0, kept)
    with suppress(OSError, ValueError):
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
