"""Processes that ran before they were watched, as /proc has them."""

import os
import select
import signal
import struct
import time
from collections.abc import Container, Iterable
from contextlib import suppress

from egressmon.text import from_bytes
from egressmon.values import dataclass, replace

_MAX_STAT = 4096
_MAX_ARGUMENTS = 4096
_MAX_ENVIRONMENT = 32768
_MAX_ENVIRONMENTS = 256
_MAX_STATUS = 8192
_MAX_ABOVE = 4096
_KERNEL_THREAD = 0x200000  # PF_KTHREAD, include/linux/sched.h
_PATIENCE_S = 2.0
_HEAD = struct.Struct("=II")
"""A pid, and how many bytes of what was read follow."""


@dataclass(frozen=True, slots=True)
class Existing:
    """A process as it was found; it runs that program until its next exec."""

    pid: int
    parent: int
    uid: int
    comm: str
    ticks: int
    """When it began: clock ticks since boot, as this time namespace has them."""
    exe: str | None
    """None: it could not be read."""
    is_there: bool
    """Whether the program's file still is at that path."""
    arguments: bytes | None
    """None: they could not be read."""
    mounts: int
    """The number of its mount namespace; 0: unknown."""
    users: int
    """The number of its user namespace; 0: unknown."""
    is_machines: bool = False
    """Whether it has the machine's root folder, and our user namespace."""
    session: int = 0
    """The pid of its session's leader; 0: unknown."""
    environment: bytes | None = None
    """As its program was executed; None: it may tell of no step, or is not readable."""
    pid_inside: int = 0
    """Its pid in its own pid namespace; 0: unknown."""


def found(
    pids: Iterable[int], starters: Container[str] = frozenset()
) -> list[Existing]:
    """Return those of `pids` that are there, but for the kernel's own threads.

    The environment is that of children of processes whose names are among `starters`.
    It takes rights to read what others run (CAP_SYS_PTRACE), and 2 s at most for their
    arguments: those lie in memory that a process can make whoever reads it wait for.
    """
    wanted = list(pids)
    arguments = _contents(wanted, "cmdline", _MAX_ARGUMENTS)
    each = (look(pid, arguments.get(pid)) for pid in wanted)
    known = {one.pid: one for one in each if one is not None}
    return _with_environments(known, starters)


def above(found: list[Existing]) -> list[Existing]:
    """Return the ancestors of the processes `found` that are not among these."""
    known = {one.pid for one in found}
    missing = {one.parent for one in found} - known - {0}
    others: list[Existing] = []
    while missing and len(others) < _MAX_ABOVE:
        known |= missing
        new = [one for pid in missing if (one := look(pid)) is not None]
        others += new
        missing = {one.parent for one in new} - known - {0}
    return others


def _with_environments(
    known: dict[int, Existing], starters: Container[str]
) -> list[Existing]:
    parents = {pid: known.get(one.parent) for pid, one in known.items()}
    wanted = [
        pid
        for pid, parent in parents.items()
        if parent is not None and parent.comm in starters
    ]
    texts = _contents(wanted[:_MAX_ENVIRONMENTS], "environ", _MAX_ENVIRONMENT)
    return [
        replace(one, environment=texts.get(pid)) if pid in texts else one
        for pid, one in known.items()
    ]


def look(pid: int, arguments: bytes | None = None) -> Existing | None:
    """Return the process `pid`; None: it is not there, or a thread of the kernel's."""
    folder = f"/proc/{pid}"
    try:
        head, _, tail = _read(f"{folder}/stat", _MAX_STAT).rpartition(b")")
        words = tail.split()
        if int(words[6]) & _KERNEL_THREAD:
            return None
        return Existing(
            pid=pid,
            parent=int(words[1]),
            uid=os.stat(folder).st_uid,  # noqa: PTH116 -- text in
            comm=from_bytes(head.partition(b"(")[2]),
            session=int(words[3]),
            ticks=int(words[19]),
            exe=(exe := _program_of(folder)),
            is_there=exe is not None and _is_same(exe, f"{folder}/exe"),
            arguments=arguments,
            mounts=_namespace(folder, "mnt"),
            users=(users := _namespace(folder, "user")),
            is_machines=users == _namespace("/proc/self", "user")
            and _is_same("/", f"{folder}/root"),
            pid_inside=_inside(_read(f"{folder}/status", _MAX_STATUS)),
        )
    except (OSError, ValueError, IndexError):
        return None  # it has ended meanwhile


def _read(path: str, limit: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)


def _program_of(folder: str) -> str | None:
    with suppress(OSError):
        return os.readlink(f"{folder}/exe")  # noqa: PTH115 -- text out
    return None


# For what is seen from another mount namespace, that is said anyhow.
def _is_same(path: str, link: str) -> bool:
    with suppress(OSError):
        return os.path.samefile(path, link)  # noqa: PTH121 -- text in
    return False


def _namespace(folder: str, kind: str) -> int:
    with suppress(OSError):
        return os.stat(f"{folder}/ns/{kind}").st_ino  # noqa: PTH116 -- text in
    return 0


# The last of its numbers is that of the innermost pid namespace (proc_pid_status(5)).
def _inside(status: bytes) -> int:
    for line in status.splitlines():
        if line.startswith(b"NSpid:"):
            return int(line.split()[-1])
    return 0


# In a process of its own, which may be made to wait for ever.
def _contents(pids: list[int], name: str, limit: int) -> dict[int, bytes]:
    if not pids:
        return {}
    read, write = os.pipe()
    reader = os.fork()
    if not reader:
        os.close(read)
        _send_contents(pids, write, name, limit)
    os.close(write)
    data = _until(read, time.monotonic() + _PATIENCE_S)
    os.close(read)
    os.kill(reader, signal.SIGKILL)
    os.waitpid(reader, 0)
    return _unpacked(data)


def _send_contents(pids: list[int], write: int, name: str, limit: int) -> None:
    status = 1
    try:
        with open(write, "wb", buffering=0) as out:
            for pid in pids:
                with suppress(OSError):
                    text = _read(f"/proc/{pid}/{name}", limit)
                    out.write(_HEAD.pack(pid, len(text)) + text)
        status = 0
    finally:
        os._exit(status)


def _until(read: int, deadline: float) -> bytes:
    data = bytearray()
    poll = select.poll()
    poll.register(read, select.POLLIN)
    while poll.poll(max(0, int(1000 * (deadline - time.monotonic())))):
        piece = os.read(read, 1 << 16)
        if not piece:
            break
        data += piece
    return bytes(data)


def _unpacked(data: bytes) -> dict[int, bytes]:
    contents: dict[int, bytes] = {}
    place = 0
    while place + _HEAD.size <= len(data):
        pid, size = _HEAD.unpack_from(data, place)
        place += _HEAD.size + size
        if place <= len(data):
            contents[pid] = data[place - size : place]
    return contents
