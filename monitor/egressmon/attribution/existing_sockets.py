"""TCP connections that were there before they were watched, as /proc has them.

All that is read is the kernel's own: links of descriptors, and tables of numbers.
"""

import ipaddress
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from egressmon.values import dataclass

MAX_FOUND = 4096
_MAX_DESCRIPTORS = 200_000
_MAX_TABLE = 16 << 20
_PATIENCE_S = 3.0
_NOT_OPEN = frozenset({b"07", b"0A"})  # TCP_CLOSE, TCP_LISTEN: include/net/tcp_states.h
_SOCKET = "socket:["


@dataclass(frozen=True, slots=True)
class ExistingSocket:
    """A connection, and a process that has it open."""

    pid: int
    address: str
    port: int
    local_address: str
    local_port: int


@dataclass(frozen=True, slots=True)
class Sockets:
    """The connections that were found."""

    found: list[ExistingSocket]
    why_not_all: str | None = None
    """Why there may be more; None: these are all of those that may be looked at."""


def found(pids: Iterable[int]) -> Sockets:
    """Return the TCP connections that any of `pids` has open, but for loopback's.

    It takes rights to look at others' descriptors (CAP_SYS_PTRACE), and 3 s at most.
    One that several have open is the first one's.
    """
    deadline = time.monotonic() + _PATIENCE_S
    why: str | None = None
    owners: dict[int, int] = {}
    spaces: dict[int, int] = {}
    """A process of each network namespace, by its number."""
    looked_at = 0
    for pid in pids:
        if time.monotonic() > deadline or looked_at >= _MAX_DESCRIPTORS:
            why = "there were too many descriptors to look at"
            break
        try:
            spaces.setdefault(os.stat(f"/proc/{pid}/ns/net").st_ino, pid)  # noqa: PTH116
            for inode in _sockets_of(pid):
                looked_at += 1
                owners.setdefault(inode, pid)
        except OSError:
            continue  # it has ended, or may not be looked at
    made = list(_found(spaces.values(), owners))
    if len(made) > MAX_FOUND:
        why = f"there are more than {MAX_FOUND}"
    return Sockets(made[:MAX_FOUND], why)


def _sockets_of(pid: int) -> Iterator[int]:
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):  # noqa: PTH208 -- text
        with suppress(OSError, ValueError):
            target = os.readlink(f"{folder}/{name}")  # noqa: PTH115 -- text
            if target.startswith(_SOCKET):
                yield int(target[len(_SOCKET) : -1])


def _found(pids: Iterable[int], owners: dict[int, int]) -> Iterator[ExistingSocket]:
    for pid in pids:
        for name in ("tcp", "tcp6"):
            with suppress(OSError):
                yield from in_table(_table(f"/proc/{pid}/net/{name}"), owners)


def _table(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 -- bounded
        return file.read(_MAX_TABLE)


def in_table(data: bytes, owners: dict[int, int]) -> Iterator[ExistingSocket]:
    """Yield the connections in `data`, a table as proc_pid_net(5) has it.

    `owners` are the processes by the inodes of their sockets; others are left out.
    """
    for line in data.splitlines()[1:]:
        words = line.split()
        with suppress(ValueError, IndexError):
            pid = owners.get(int(words[9]))
            if pid is None or words[3] in _NOT_OPEN:
                continue
            local, remote = _end(words[1]), _end(words[2])
            if not ipaddress.ip_address(remote[0]).is_loopback:
                yield ExistingSocket(pid, *remote, *local)


# An address is written as numbers of 32 bits in the machine's own order, in network
# order each (net/ipv4/tcp_ipv4.c, get_tcp4_sock).
def _end(word: bytes) -> tuple[str, int]:
    digits, _, port = word.partition(b":")
    raw = bytes.fromhex(digits.decode())
    words = (raw[place : place + 4] for place in range(0, len(raw), 4))
    packed = b"".join(
        socket.htonl(int.from_bytes(one, "big")).to_bytes(4, "big") for one in words
    )
    address = ipaddress.ip_address(packed)
    return str(getattr(address, "ipv4_mapped", None) or address), int(port, 16)
