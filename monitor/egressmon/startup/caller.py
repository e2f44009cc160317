"""Find out which user called egressmon, also when sudo is in between.

The answer rests on the variables that sudo sets in our own environment, not on a living
sudo process. A missing sudo proves nothing: its front process keeps the real user id of
the caller, so that any process of that user may kill it (kill(2)); and if sudo has
nothing to wait for, it executes the command in its own process (sudoers(5),
`pam_session`).
"""

import os
import re
import select
from functools import cache
from pathlib import Path

from egressmon.errors import PrivilegeError
from egressmon.startup import environment
from egressmon.startup.environment import Block
from egressmon.values import dataclass

HOP = environment.HOP
_SHELLS = frozenset(("ash", "bash", "dash", "fish", "ksh", "mksh", "sh", "zsh"))
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_SEVERAL = re.compile(r"[;&|\n]")
_SET_BY_SUDO = re.compile(rb"SUDO_\w+|_EGRESSMON_HOP")
_HINT = "run `egressmon` as yourself, or `sudo egressmon`"


@dataclass(frozen=True, slots=True)
class Sudo:
    """The sudo that started this process, which was alive when it was looked at."""

    pidfds: tuple[int, ...]
    """One or two processes: sudo's monitor, if it has one, and its front process."""
    block: Block
    """The environment with which the user called sudo."""
    words: tuple[bytes, ...] = ()
    """Its command line."""

    def has_ended(self) -> bool:
        """Tell whether one of its processes was killed: both would wait for our end."""
        return any(map(_has_ended, self.pidfds))


def ids_from_sudo() -> tuple[int, int] | None:
    """Return the user id and group id of who called through sudo.

    Return None if egressmon was not called through sudo: then the caller has the ids of
    this process. Raises `PrivilegeError` if the variables contradict each other.
    """
    if os.geteuid() != 0:
        return None
    variables = environment.own_variables()
    uid, hop = variables.get(b"SUDO_UID"), HOP.encode() in variables
    if uid is None and not hop:
        return None
    ids = _number(uid), _number(variables.get(b"SUDO_GID"))
    if ids[0] == 0 or hop:
        return ids
    command = variables.get(b"SUDO_COMMAND")
    if command is None:
        raise _undecided("SUDO_UID is set, and SUDO_COMMAND is not")
    return ids if runs_egressmon(os.fsdecode(command)) else None


def runs_egressmon(command: str) -> bool:
    """Tell whether `command` (SUDO_COMMAND) starts egressmon directly.

    It does not if it is a root shell, or another program that starts egressmon. sudo
    cuts off the end of a long command.
    """
    first, *rest = command.split(" ")
    is_script = first.rpartition("/")[2] in _SHELLS and "-c" in rest[:3]
    if is_script and _SEVERAL.search(_ESCAPED.sub("", command)):
        return False
    return any(word.rpartition("/")[2] == "egressmon" for word in (first, *rest))


def user_environment() -> Block:
    """Return the environment of the user who called through sudo.

    If that sudo is gone, return what it left of the environment. But raise
    `PrivilegeError` if egressmon called sudo itself: then only sudo's process has it.
    """
    sudo = calling_sudo()
    if sudo is not None:
        if HOP.encode() in environment.own_variables():
            return sudo.block  # the line is ours
        own = frozenset(environment.original())
        return changed_on_line(sudo.block, sudo.words, own)
    if HOP.encode() in environment.own_variables():
        raise PrivilegeError(
            "sudo, which called, is gone, and with it the environment of its caller",
            "it was ended, or sudo waits for nothing here: run `sudo egressmon`",
        )
    return tuple(
        entry
        for entry in environment.original()
        if not _SET_BY_SUDO.fullmatch(entry.partition(b"=")[0])
    )


def changed_on_line(
    block: Block, words: tuple[bytes, ...], arrived: frozenset[bytes]
) -> Block:
    """Return `block` with the changes that a sudo command line makes in front of ours.

    `sudo TOKEN=x egressmon`, `sudo env -u HOME egressmon`. `words` are the line; what
    it sets counts only if it `arrived` in our own environment.
    """
    rest = iter(words[1:])
    by_env = False
    for word in rest:
        base = word.rpartition(b"/")[2]
        if base == b"egressmon":
            break
        by_env = by_env or base == b"env"
        if by_env and word in {b"-", b"-i", b"--ignore-environment"}:
            block = ()
        elif by_env and (word == b"-u" or word.startswith(b"--unset=")):
            name = next(rest, b"") if word == b"-u" else word.partition(b"=")[2]
            block = environment.without(block, os.fsdecode(name))
        elif not word.startswith(b"-") and word in arrived:
            block = environment.with_entry(block, word)
    return block


@cache
def calling_sudo() -> Sudo | None:
    """Return the sudo that started this process, or None if there is none alive.

    sudo is the parent or, with `use_pty`, the grandparent: the parent is then sudo's
    monitor process. Its environment is read from /proc. Call it as early as possible.
    """
    pid = os.getppid()
    pidfd = _open(pid)
    if pidfd is None or os.getppid() != pid:  # the parent ended: `pid` may be reused
        return None
    above = _parent_of(pid)
    front = _open(above)
    if front is not None and _parent_of(pid) != above:
        return None
    pidfds = (pidfd,) if front is None else (pidfd, front)
    folder = Path(f"/proc/{pid if front is None else above}")
    try:
        data = (folder / "environ").read_bytes()
        line = (folder / "cmdline").read_bytes()
    except OSError:
        return None
    if any(map(_has_ended, pidfds)):
        return None
    return Sudo(pidfds, environment.entries(data), environment.entries(line))


# Open a pidfd of `pid` if it is a sudo that runs as root: the user cannot imitate that.
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
