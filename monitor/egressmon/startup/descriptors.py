"""The files that the caller left open for the command, besides the standard streams.

A shell's `<(...)` and make's jobserver hand such files down. sudo closes them. So
before egressmon calls sudo, it forks a process of the user's that holds them, and takes
them from there once it is root (pidfd_getfd(2)): what a user's own process has open,
that user may have.
"""

import os
import signal
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from egressmon.startup import environment

if TYPE_CHECKING:
    import socket

HELD = "_EGRESSMON_HELD"
"""Set as we call sudo: the pid of the process that holds files, and their numbers."""
_FIRST = 3
_MAX = 64
_SET_DEATH_SIGNAL = 1
_SET_PTRACER = 0x59616D61  # prctl(2), "Yama"
_ANY = 2**64 - 1
_PIDFD_GETFD = 438  # on every architecture
_inherited: list[int] = []


def note_inherited() -> None:
    """Note which files the caller left open; call it before others are opened."""
    _inherited[:] = _open_for_others()


def hold() -> list[str]:
    """Have another process hold the files, and return what to tell env(1) then.

    The process ends once they were taken, or with this one.
    """
    numbers = _open_for_others()[:_MAX]
    if not numbers:
        return []
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _stand_by(parent)
    return [f"{HELD}={pid}:{','.join(map(str, numbers))}"]


def take() -> None:
    """As root, take the files that a process of the user who called sudo holds for us.

    Raises no error: a file that cannot be had stays closed for the command.
    """
    variables = environment.own_variables()
    pid, _, listed = variables.get(HELD.encode(), b"").partition(b":")
    with suppress(OSError, ValueError, OverflowError, KeyError):
        numbers = [int(one) for one in listed.split(b",")][:_MAX]
        user, group = (int(variables[name]) for name in (b"SUDO_UID", b"SUDO_GID"))
        holder = _above(max(numbers), os.pidfd_open(int(pid)))
        try:
            _receive(_taken_as(user, group, holder, numbers))
        finally:
            os.close(holder)


def let_go() -> None:
    """Close the files, as the command's process has them, and leave standard input.

    Who reads the other end of a pipe, or writes to it, would wait for us as well.
    """
    for number in _inherited:
        with suppress(OSError):
            os.close(number)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)


def hand_down(*numbers: int) -> None:
    """Let the command have just the files `numbers`; close what the caller left open.

    Standard input is none of them.
    """
    let_go()
    _inherited[:] = numbers
    for number in numbers:
        os.set_inheritable(number, True)


def _open_for_others() -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for number in sorted(map(int, os.listdir("/proc/self/fd"))):  # noqa: PTH208 -- as above
            with suppress(OSError):
                if number >= _FIRST and os.get_inheritable(number):
                    found.append(number)
    return found


# In the child, which must not go on from here, whatever happens.
def _stand_by(parent: int) -> NoReturn:
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        null = os.open("/dev/null", os.O_RDWR)
        for number in range(_FIRST):
            os.dup2(null, number)
        import ctypes  # noqa: PLC0415 -- as in _taken_as

        prctl = ctypes.CDLL(None).prctl
        prctl(_SET_DEATH_SIGNAL, ctypes.c_ulong(signal.SIGKILL))
        # Yama lets a process be looked into by its ancestors alone, otherwise.
        prctl(_SET_PTRACER, ctypes.c_ulong(_ANY))
        while os.getppid() == parent:  # it may have ended before
            signal.sigwait({signal.SIGTERM})
    finally:
        os._exit(0)


# Take files of the process `holder` with the user's rights alone: the kernel compares
# these with the process's as it hands each over. Looked at before, it could have become
# another program since, with more rights. Returns them by the numbers that they had.
def _taken_as(user: int, group: int, holder: int, numbers: list[int]) -> dict[int, int]:
    import socket  # noqa: PLC0415 -- not before its file is known to belong to root

    ours, theirs = socket.socketpair()
    limit = max(numbers)
    with ours, theirs:
        pid = os.fork()
        if not pid:
            _send_as(user, group, holder, numbers, theirs)
        theirs.close()
        found, got, _, _ = socket.recv_fds(ours, 4 * _MAX, _MAX)
        os.waitpid(pid, 0)
    had = struct.unpack(f"={len(found) // 4}I", found)
    copies = [_above(limit, one) for one in got]
    return dict(zip(had, copies, strict=True))


# In the child, which must not go on from here, whatever happens.
def _send_as(
    user: int, group: int, holder: int, numbers: list[int], connection: "socket.socket"
) -> NoReturn:
    try:
        import ctypes  # noqa: PLC0415 -- as above
        import socket  # noqa: PLC0415 -- as above

        libc = ctypes.CDLL(None, use_errno=True)
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
        copies: dict[int, int] = {}
        for number in numbers:
            got = libc.syscall(_PIDFD_GETFD, holder, number, 0)
            if got >= 0:
                copies[number] = got
        had = struct.pack(f"={len(copies)}I", *copies)
        socket.send_fds(connection, [had], list(copies.values()))
        signal.pidfd_send_signal(holder, signal.SIGKILL)
    finally:
        os._exit(0)


# Each gets the number that it had, unless that is in use.
def _receive(copies: dict[int, int]) -> None:
    for number, copy in copies.items():
        if not _is_open(number):
            os.dup2(copy, number)
            _inherited.append(number)
        os.close(copy)


# Return the descriptor with a number above `limit`, so that those up to it stay free.
def _above(limit: int, descriptor: int) -> int:
    import fcntl  # noqa: PLC0415 -- as above

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, limit + 1)
    finally:
        os.close(descriptor)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
