"""Confine egressmon's own processes once the probes are attached.

None of them can execute a program any more, even if an attacker takes it over: a
seccomp filter forbids that. Capabilities are given up for good. Sources:
capabilities(7), prctl(2), seccomp(2),
Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import errno
import os
import pwd
import resource
import secrets
import struct
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

from egressmon.errors import PrivilegeError
from egressmon.privileges.privilege import User, drop_capabilities
from egressmon.probes.architecture import machine

# include/uapi/linux/prctl.h, securebits.h
_SET_DEATH_SIGNAL, _SET_DUMPABLE = 1, 4
_SET_SECCOMP, _DROP_BOUNDING, _SET_SECURE_BITS, _NO_NEW_PRIVILEGES = 22, 24, 28, 38
# Bits of securebits: SECBIT_NOROOT and SECBIT_NO_CAP_AMBIENT_RAISE, each with its lock,
# and SECBIT_KEEP_CAPS, which keeps capabilities as the user id changes.
_NO_ROOT, _NO_AMBIENT = 0b11, 0b11 << 6
_KEEP_CAPABILITIES = 1 << 4
_GET_NO_NEW_PRIVILEGES = 39
_FILTER_MODE = 2
_HIGHEST_CAPABILITY = 63
# Classic BPF instructions, the offsets in struct seccomp_data, and the values that a
# filter returns: linux/bpf_common.h, linux/seccomp.h.
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_KILL, _REFUSE, _ALLOW = 0x80000000, 0x00050000 | errno.EPERM, 0x7FFF0000
_X32 = 0x40000000
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_UIDS = range(61184, 65520)  # systemd's range for dynamic users (UIDS-GIDS.md)
_TRIES = 64

BPF, PERF = "bpf", "perf_event_open"
"""System calls of `_WITHHELD` that some of our processes need."""
# The system calls that are refused, with their numbers on x86-64 and on arm64. They
# execute programs, attach to other processes, mount, change namespaces or the kernel,
# or evade this filter (io_uring). egressmon needs none of them after its start.
_WITHHELD = {
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    BPF: (321, 280), PERF: (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97),
    "setns": (308, 268), "open_by_handle_at": (304, 265), "swapon": (167, 224),
    "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "acct": (163, 89),
    "quotactl": (179, 60), "settimeofday": (164, 170), "personality": (135, 92),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
}  # fmt: skip


def lock(kept: Iterable[int], calls: Iterable[str] = ()) -> None:
    """Give up all capabilities but `kept`, for good, and the system calls `_WITHHELD`.

    `calls` names those of these system calls that stay allowed. This holds for the
    calling thread and for threads made later. Raises OSError.
    """
    _close_ways_back(0)
    drop_capabilities(kept)
    refuse_new_privileges()
    _filter(frozenset(_WITHHELD) - frozenset(calls))


def become_nobody(
    uid: int, kept: Iterable[int] = (), calls: Iterable[str] = ()
) -> None:
    """Become user and group `uid`, which no account has, then `lock(kept, calls)`.

    No other process can debug this one after that. Raises `PrivilegeError`.
    """
    _become(uid, uid, tuple(kept), calls)


def be_signalled_as(uid: int, other: int) -> None:
    """Become nobody as `become_nobody(uid)` does, but one whom `other` can signal.

    kill(2) asks for the saved user id, and ptrace(2) for all three. Raises
    `PrivilegeError`.
    """
    # Root can signal any process, and nothing of root's is to be had here.
    _become(uid, other or uid, (), ())


def _become(uid: int, saved: int, kept: tuple[int, ...], calls: Iterable[str]) -> None:
    try:
        if os.geteuid() == 0:  # others cannot change their user, and need not
            _change_to(uid, saved, keep=bool(kept))
        lock(kept, calls)
        _prctl(_SET_DUMPABLE, 0)
    except OSError as error:
        raise PrivilegeError(
            f"egressmon cannot give up its rights ({error.strerror})",
            "it needs CAP_SETUID and CAP_SETGID; in a container: --cap-add for each",
        ) from error


# Make sure that no later step brings capabilities back. This needs CAP_SETPCAP; a
# process without it is restricted already.
def _close_ways_back(more: int) -> None:
    with suppress(PermissionError):
        _prctl(_SET_SECURE_BITS, _NO_ROOT | _NO_AMBIENT | more)
        for number in range(_HIGHEST_CAPABILITY + 1):
            with suppress(OSError):  # this kernel does not know the number
                _prctl(_DROP_BOUNDING, number)


def _change_to(uid: int, saved: int, *, keep: bool) -> None:
    # RLIMIT_NPROC does not bind root, but limits the threads of other users.
    with suppress(OSError, ValueError):
        unlimited = resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_NPROC, (unlimited, unlimited))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    _close_ways_back(_KEEP_CAPABILITIES if keep else 0)
    os.setresuid(uid, uid, saved)


def end_with_parent(number: int) -> None:
    """Ask the kernel to send signal `number` to this process when its parent ends."""
    _prctl(_SET_DEATH_SIGNAL, number)


def refuse_new_privileges() -> None:
    """Let no program that is executed from now on gain rights (no_new_privs)."""
    _prctl(_NO_NEW_PRIVILEGES, 1)


def gains_no_privileges() -> bool:
    """Tell whether no_new_privs is set: by `refuse_new_privileges`, or inherited."""
    return bool(ctypes.CDLL(None).prctl(_GET_NO_NEW_PRIVILEGES, 0, 0, 0, 0))


def hide() -> None:
    """Let no process of the same user debug this one, or read what it has open."""
    _prctl(_SET_DUMPABLE, 0)


def unused_uid() -> int:
    """Return a user id that no account has, chosen at random so that no run shares it.

    Raises `PrivilegeError` if none is found.
    """
    for _ in range(_TRIES):
        uid = secrets.choice(_UIDS)
        if Path(f"/run/systemd/dynamic-uid/{uid}").exists():
            continue
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid
    raise PrivilegeError(
        f"no user id from {_UIDS[0]} to {_UIDS[-1]} is free",
        "egressmon needs one for the process that reads what the command wrote",
    )


@contextmanager
def with_rights_of(user: User) -> Generator[None]:
    """Open and create files as `user` in the `with` block, in this thread only.

    This sets the user id for file access (setfsuid(2)); the caller must have set the
    groups.
    """
    libc = ctypes.CDLL(None)
    libc.setfsuid(user.uid)
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())


def _prctl(what: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(what, ctypes.c_ulong(value), zero, zero, zero):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _filter(names: frozenset[str]) -> None:
    own = machine()
    column = list(_ARCHITECTURES).index(own)
    numbers = sorted(_WITHHELD[name][column] for name in names)
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[own]),
        (_RETURN, 0, 0, _KILL),  # 32-bit code, whose system call numbers differ
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    for place, number in enumerate(numbers):
        steps.append((_EQUAL, len(numbers) - place, 0, number))
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    room = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("=HxxxxxxQ", len(steps), ctypes.addressof(room))
    libc = ctypes.CDLL(None, use_errno=True)
    text = ctypes.create_string_buffer(program, len(program))
    if libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_FILTER_MODE), text, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
