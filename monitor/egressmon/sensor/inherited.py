"""What the command inherits: what the probes are told to watch, and what they cannot.

The probes find the packets of a socket from outside the scope by what is kept with it.
So it must have an open file here, by which that is done, and be the one that sends.
"""

import os
import select
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from egressmon.probes.engine import Engine

_IO_URING = "anon_inode:[io_uring]"
_MPTCP = 262  # IPPROTO_MPTCP, include/uapi/linux/in.h


def adopt(engine: Engine) -> list[str]:
    """Have the probes watch the IP sockets that the command will inherit.

    Returns what of them can send unseen, each time as the reason of a doubt.
    """
    doubts: list[str] = []
    for number in _inherited():
        with suppress(OSError):  # no socket, or the listing's own, closed by now
            if str(Path(f"/proc/self/fd/{number}").readlink()) == _IO_URING:
                doubts.append(
                    "the command inherits an io_uring, which may hold sockets"
                )
            elif stat.S_ISSOCK(os.fstat(number).st_mode):
                doubts += _adopt_socket(engine, number)
    return list(dict.fromkeys(doubts))


def _inherited() -> Iterator[int]:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- the names alone
        with suppress(OSError):
            if os.get_inheritable(int(name)):
                yield int(name)


def _adopt_socket(engine: Engine, number: int) -> Iterator[str]:
    with socket.socket(fileno=os.dup(number)) as one:
        if one.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        try:
            engine.adopt(one.fileno())
        except OSError as error:
            yield f"a socket that the command inherits is not watched: {error.strerror}"
        if one.proto == _MPTCP:
            yield "the command inherits an MPTCP socket, whose packets others send"
        if _has_waiting(one):
            yield "connections wait at a listener that the command inherits"


# Those that finished before have no open file yet, and send nothing that tells of them.
def _has_waiting(one: socket.socket) -> bool:
    if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    poll = select.poll()
    poll.register(one, select.POLLIN)
    return bool(poll.poll(0))
