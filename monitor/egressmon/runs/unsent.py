"""Find data for DNS servers that is still unsent when all processes of the scope ended.

After a process is gone, the kernel goes on sending what it wrote to a TCP socket, as
fast as pacing and the peer's window allow.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from egressmon.values import dataclass
from egressmon.verdicts import sock_diag

_DNS_PORT = 53
_PATIENCE_S = 2.0
_PAUSE_S = 0.05
# A mask of states (include/net/tcp_states.h): all but TIME_WAIT, CLOSE and LISTEN.
_STATES = 0xFFF & ~(1 << 6 | 1 << 7 | 1 << 10)
_FIN_QUEUED = {4, 9, 11}  # FIN_WAIT1, LAST_ACK, CLOSING
# include/uapi/linux/inet_diag.h, tcp.h
_REQUEST = struct.Struct("=BBBxI2x2s44x")
_MESSAGE = struct.Struct("=xB2x2x2s32x12x4x4xI4xI")
_INFO, _CGROUP_ID = 2, 21
_NOT_SENT = 144  # the offset of tcpi_notsent_bytes in struct tcp_info


@dataclass(frozen=True, slots=True)
class _Waiting:
    size: int
    is_orphan: bool
    cgroup: int | None


def wait_for_unsent(
    scope: Path, drain: Callable[[], None], patience_s: float
) -> str | None:
    """Wait until the scope has no unsent DNS data, calling `drain` meanwhile.

    It waits up to `patience_s`, and never longer than 2 s. Return a doubt if some is
    left or that cannot be found out, else None. Only the network namespace of the
    calling process is looked at.
    """
    deadline = time.monotonic() + min(patience_s, _PATIENCE_S)
    try:
        while (count := _unsent(scope)) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
            drain()
    except (OSError, ValueError, struct.error) as error:
        return f"what was still to be sent to a DNS server is not known: {error}"
    if not count:
        return None
    sockets = "1 socket" if count == 1 else f"{count} sockets"
    return f"{sockets} had unsent data to a DNS server when the run ended"


# An orphan is a socket that no process has open. Whether the scope had it cannot be
# told if the scope inherited it from elsewhere, so every orphan counts.
def _unsent(scope: Path) -> int:
    found = [one for one in _to_dns() if one.size]
    if not found:
        return 0
    inside = {folder.stat().st_ino for folder in (scope, *scope.glob("**/"))}
    return sum(
        one.is_orphan or one.cgroup is None or one.cgroup in inside for one in found
    )


def _to_dns() -> Iterator[_Waiting]:
    port = _DNS_PORT.to_bytes(2, "big")
    with closing(sock_diag.connect(_PATIENCE_S)) as diag:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _REQUEST.pack(
                family, socket.IPPROTO_TCP, 1 << _INFO - 1, _STATES, port
            )
            yield from map(_waiting, sock_diag.dump(diag, request))


def _waiting(body: bytes) -> _Waiting:
    state, _, queued, inode = _MESSAGE.unpack_from(body)
    found = dict(sock_diag.attributes(body[_MESSAGE.size :]))
    cgroup = found.get(_CGROUP_ID)
    return _Waiting(
        _size(state, queued, found.get(_INFO, b"")),
        not inode,
        struct.unpack("=Q", cgroup)[0] if cgroup is not None else None,
    )


# The number of unsent bytes. Data that is sent but not acknowledged does not count: the
# probes saw it. A FIN that is queued behind the data counts as one byte; it is no data.
def _size(state: int, queued: int, info: bytes) -> int:
    if len(info) < _NOT_SENT + 4:
        return queued
    (unsent,) = struct.unpack_from("=I", info, _NOT_SENT)
    return max(int(unsent) - (state in _FIN_QUEUED), 0)
