"""Become root for the probes, and the invoking user for the command."""

import ctypes
import os
import pwd
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import NoReturn

from egressmon.errors import PrivilegeError
from egressmon.startup import (
    caller,
    descriptors,
    dispositions,
    environment,
    installed,
    limits,
    ownership,
)
from egressmon.startup.environment import Block
from egressmon.values import dataclass

# include/uapi/linux/capability.h
_CAP_DAC_OVERRIDE = 1
_CAP_KILL = 5
_CAP_SETUID = 7
_CAP_SYS_PTRACE = 19
_CAP_SYS_ADMIN = 21
_CAP_BPF = 39
KEEPER = (_CAP_DAC_OVERRIDE, _CAP_KILL, _CAP_SETUID, _CAP_SYS_PTRACE, _CAP_BPF)
"""The capabilities that the keeper needs: CAP_BPF (read and change maps),
CAP_SYS_PTRACE (open files in /proc of any user's process), CAP_KILL (pass signals on),
CAP_SETUID (open files with the user's rights) and CAP_DAC_OVERRIDE (enter and remove
the scope's cgroup, whoever owns the one above)."""
ATTACHER = (_CAP_SYS_ADMIN,)
"""The capability that it takes to attach uprobes to files."""
_CAPABILITY_VERSION_3 = 0x20080522

_SUDO = ("/usr/bin/sudo", "/usr/local/bin/sudo", "/run/wrappers/bin/sudo")


@dataclass(frozen=True, slots=True)
class User:
    """The user as whom the command runs, with the environment that this user had."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    environment: dict[bytes, bytes]
    block: Block = ()
    """The same environment as a list of entries, in order, even ill-formed ones."""

    @classmethod
    def of_block(cls, ids: tuple[int, int, tuple[int, ...]], block: Block) -> "User":
        """Return a user with the environment `block`; `ids` are uid, gid and groups."""
        return cls(*ids, environment.variables(block), block)


def invoking_user() -> User:
    """Return the user who called: through sudo the user who called sudo, else our own.

    In a root shell, even one opened with sudo, the user is root. Raises
    `PrivilegeError` if it cannot be told: in doubt, nobody is taken for root.
    """
    ids = caller.ids_from_sudo()
    if ids is None:
        own = os.getuid(), os.getgid(), tuple(os.getgroups())
        return User.of_block(own, environment.original())
    uid, gid = ids
    return User.of_block((uid, gid, _groups(uid, gid)), caller.user_environment())


def _groups(uid: int, gid: int) -> tuple[int, ...]:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return (gid,)
    return tuple(os.getgrouplist(name, gid))


def become_root(arguments: list[str], *, quiet: bool) -> None:
    """Return if this process is root; else execute egressmon again through sudo.

    `arguments` are the command line's; without `quiet` a message says so. Raises
    `PrivilegeError` if sudo is missing or refuses.
    """
    if os.geteuid() == 0:
        return
    python = _root_python()
    sudo = find_sudo()
    interactive = sys.stdin.isatty() and sys.stderr.isatty()
    if not quiet:
        what = "itself" if python == sys.executable else python
        _say(f"egressmon: root is needed to load the probes; running {what} with sudo")
    import subprocess  # noqa: PLC0415 -- 4 ms, and only where sudo is needed

    check = [sudo, "-v"] if interactive else [sudo, "-n", "true"]
    if subprocess.run(check, check=False, stdout=subprocess.DEVNULL).returncode:  # noqa: S603 -- fixed words
        raise PrivilegeError(
            "sudo did not let egressmon become root",
            "run `sudo egressmon …` yourself, or allow it without a password",
        )
    _exec_sudo(sudo, python, arguments)


def find_sudo() -> str:
    """Return the path of the system's sudo; raises `PrivilegeError` if there is none.

    PATH is not searched: a program that asks for the user's password, and starts us as
    root, must be one that only root can change.
    """
    for path in _SUDO:
        if os.access(path, os.X_OK) and not ownership.obstacle(path):
            return path
    raise PrivilegeError(
        "egressmon needs root to load its probes, and there is no sudo",
        "run it as root",
    )


# This interpreter if only root can change its code, else that of `egressmon install`.
def _root_python() -> str:
    reason = ownership.obstacle_to_root()
    if not reason:
        return sys.executable
    from egressmon.host import egressmon_version  # noqa: PLC0415 -- rarely needed

    found = installed.current()
    if found is None or found.version != egressmon_version():
        raise PrivilegeError(
            f"root would run code that others can change: {reason}",
            "`egressmon install` makes an installation that only root can write; in "
            "a checkout, use ./scripts/egressmon",
        )
    return found.python


def _exec_sudo(sudo: str, python: str, arguments: list[str]) -> NoReturn:
    command = [sudo, *environment.WITHOUT_FOREIGN_PYTHON, *_hop()]
    command += [python, "-I", "-m", "egressmon", *arguments]
    words = list(map(os.fsencode, command))
    dispositions.restore()
    try:
        environment.execve(words[0], words, environment.original())
    except OSError as error:
        raise PrivilegeError(
            f"sudo could not be run: {error.strerror}", "run egressmon as root"
        ) from error


# What env(1) is to do before Python starts, and what sudo's process would not show.
def _hop() -> list[str]:
    block = ["--block-signal=INT"] if dispositions.env_can_block() else []
    hop = f"{caller.HOP}=1:{dispositions.note()}"
    return [*block, hop, limits.note(), *descriptors.hold()]


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


@contextmanager
def acting_as(user: User) -> Generator[None]:
    """Open and create files as `user` in the `with` block, if this process is root.

    It changes the effective ids of the whole process.
    """
    if os.geteuid() != 0 or user.uid == 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(os.getgid())
        os.setgroups(groups)


def drop_to(user: User) -> None:
    """Become `user` for good, with its groups; if `user` is root, change nothing."""
    if user.uid == os.geteuid():
        return
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_capabilities(kept: Iterable[int]) -> None:
    """Give up all capabilities of the calling thread but `kept` (capset(2)).

    Threads made later inherit this. Raises OSError.
    """
    mask = sum(1 << number for number in kept)
    header = _Header(_CAPABILITY_VERSION_3, 0)
    sets = (_Sets * 2)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "capget")
    for index in range(2):
        part = (mask >> (32 * index)) & 0xFFFFFFFF
        sets[index].permitted &= part
        sets[index].effective = sets[index].permitted
        sets[index].inheritable = 0
    if libc.capset(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "capset")
