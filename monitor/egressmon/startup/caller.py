"""Who called: what sudo left in our own environment, and nothing that can be ended.

sudo's front process keeps the caller's real user id, so whatever runs as that user may
kill it (kill(2)); and where sudo has nothing to wait for, it becomes us (sudoers(5),
`pam_session`). Therefore a missing parent says nothing.
"""

import os
import re
import select
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from egressmon.errors import PrivilegeError
from egressmon.startup import environment
from egressmon.startup.environment import Block

HOP = "_EGRESSMON_HOP"
"""What egressmon sets for itself when it calls sudo: then sudo must say who called."""
_SHELLS = frozenset(("ash", "bash", "dash", "fish", "ksh", "mksh", "sh", "zsh"))
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_SEVERAL = re.compile(r"[;&|\n]")
_OTHER = re.compile(rb"SUDO_\w+|_EGRESSMON_HOP")
_HINT = "run `egressmon` as yourself, or `sudo egressmon`"


@dataclass(frozen=True, slots=True)
class Sudo:
    """The living processes of the sudo that started this one."""

    pidfds: tuple[int, ...]
    block: Block
    """The environment that it was called with, which is the user's."""

    def has_ended(self) -> bool:
        """Tell whether one of them is gone: they wait for us, and so were ended."""
        return any(map(_has_ended, self.pidfds))


def by_sudo() -> tuple[int, int] | None:
    """Return the user and group that called through sudo; None: this process's own did.

    Raises PrivilegeError where that cannot be told.
    """
    if os.geteuid() != 0:
        return None
    said = environment.given()
    uid, hop = said.get(b"SUDO_UID"), HOP.encode() in said
    if uid is None and not hop:
        return None
    ids = _number(uid), _number(said.get(b"SUDO_GID"))
    if ids[0] == 0 or hop:
        return ids
    command = said.get(b"SUDO_COMMAND")
    if command is None:
        raise _undecided("SUDO_UID is set, and SUDO_COMMAND is not")
    return ids if names_us(os.fsdecode(command)) else None


def names_us(command: str) -> bool:
    """Tell whether sudo's `command` is egressmon: not a root shell, or another program.

    sudo cuts what is long off at its end.
    """
    first, *rest = command.split(" ")
    is_script = first.rpartition("/")[2] in _SHELLS and "-c" in rest[:3]
    if is_script and _SEVERAL.search(_ESCAPED.sub("", command)):
        return False
    return any(word.rpartition("/")[2] == "egressmon" for word in (first, *rest))


def its_environment() -> Block:
    """Return the environment of the user that called through sudo.

    Raises PrivilegeError in egressmon's own call of sudo, whose front process has it.
    """
    sudo = calling_sudo()
    if sudo is not None:
        return sudo.block
    if HOP.encode() in environment.given():
        raise PrivilegeError(
            "sudo, which called, is gone, and with it the environment of its caller",
            "it was ended, or sudo waits for nothing here: run `sudo egressmon`",
        )
    return tuple(
        entry
        for entry in environment.original()
        if not _OTHER.fullmatch(entry.partition(b"=")[0])
    )


@cache
def calling_sudo() -> Sudo | None:
    """Return the sudo that started this process, if it lives; asked as early as can be.

    It is the parent, or above that, when the parent is only sudo's monitor (its own
    child under use_pty). What it was started with the kernel keeps.
    """
    pid = os.getppid()
    pidfd = _open(pid)
    if pidfd is None or os.getppid() != pid:  # else the number may be another's by now
        return None
    above = _parent_of(pid)
    front = _open(above)
    if front is not None and _parent_of(pid) != above:
        return None
    pidfds = (pidfd,) if front is None else (pidfd, front)
    try:
        data = Path(f"/proc/{pid if front is None else above}/environ").read_bytes()
    except OSError:
        return None
    if any(map(_has_ended, pidfds)):
        return None
    return Sudo(pidfds, environment.entries(data))


# A pidfd of a sudo that runs as root, as no process of the user can.
def _open(pid: int) -> int | None:
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    if _is_sudo(pid):
        return pidfd
    os.close(pidfd)
    return None


def _is_sudo(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        name = Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return False
    return name == "sudo" and bool(re.search(r"^Uid:\t\d+\t0\t", status, re.MULTILINE))


# Field 4 of proc_pid_stat(5).
def _parent_of(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _number(value: bytes | None) -> int:
    if value is None or not re.fullmatch(rb"[0-9]{1,10}", value):
        raise _undecided("sudo does not say whose it is (SUDO_UID, SUDO_GID)")
    return int(value)


def _undecided(why: str) -> PrivilegeError:
    return PrivilegeError(f"it cannot be told who called: {why}", _HINT)
