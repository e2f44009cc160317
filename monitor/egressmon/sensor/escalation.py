"""Find out whether the command is root or can become root, and how.

sudo is never tried as the user: a refusal is logged, and mailed to root. Instead it is
asked as root what it would let the user do (`sudo -l -U`, sudo(8)), which needs no
password and is not logged.
"""

import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import ProcessRecord
from egressmon.privileges.confinement import gains_no_privileges
from egressmon.privileges.privilege import User
from egressmon.values import dataclass

if TYPE_CHECKING:
    import subprocess

_PATIENCE_S = 3.0  # sudo may have to fetch its rules from a directory server
_DENIED = "is not allowed to run sudo"
_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DOAS_RULES = (Path("/etc/doas.conf"), Path("/usr/local/etc/doas.conf"))
_ROOT_TOOLS = frozenset({"sudo", "doas"})


class SudoQuery:
    """A query whether sudo or doas lets a user become root, run in the background."""

    def __init__(self, user: User) -> None:
        """Begin to ask; the calling process must be root."""
        self._user = user
        self._asking: subprocess.Popen[str] | None = None
        may = bool(user.uid) and not gains_no_privileges()
        self._doas = _set_uid_program("doas") if may else None
        sudo = _set_uid_program("sudo") if may else None
        name = _name(user.uid)  # sudo allows nothing to a user without an account
        if sudo is not None and name is not None:
            self._asking = _ask(sudo, name)

    def reason(self) -> str | None:
        """Return how the user can become root, or why that is not known.

        None means that the user cannot. Waits up to 3 s for sudo; call it only once.
        """
        return self._by_sudo() or self._by_doas()

    def _by_sudo(self) -> str | None:
        if self._asking is None:
            return None
        import subprocess  # noqa: PLC0415 -- 4 ms, and not for root's commands

        try:
            text, _ = self._asking.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._asking.kill()
            self._asking.communicate()
            return "sudo did not say in time whether it lets the user become root"
        if _DENIED in text:
            return None
        if self._asking.returncode:
            return "sudo is there, and does not say whom it lets become root"
        return f"sudo lets user {self._user.uid} run commands as another user"

    def _by_doas(self) -> str | None:
        if self._doas is None or not any(one.exists() for one in _DOAS_RULES):
            return None
        return "doas is set up, and whom it lets become root is not looked into"


def _name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _ask(sudo: str, name: str) -> "subprocess.Popen[str]":
    import subprocess  # noqa: PLC0415 -- as above

    return subprocess.Popen(  # noqa: S603 -- no shell, and a path of the system's
        [sudo, "-n", "-l", "-U", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": _SYSTEM, "LC_ALL": "C"},
        cwd="/",
        text=True,
        errors="replace",
        start_new_session=True,  # so that sudo has no terminal to ask for a password
    )


def _set_uid_program(name: str) -> str | None:
    places = [f"{folder}/{name}" for folder in _SYSTEM.split(":")]
    path = next(
        (one for one in places if Path(one).is_file() and os.access(one, os.X_OK)), None
    )
    if path is None or os.statvfs(path).f_flag & os.ST_NOSUID:
        return None
    return path if Path(path).stat().st_mode & stat.S_ISUID else None


def runs_as_root(user: User) -> str | None:
    """Return why the command of `user` runs as root, or None if it does not."""
    if user.uid:
        return None
    called = os.environ.get("SUDO_UID", "0") != "0"
    name = os.environ.get("SUDO_USER", "a user") if called else None
    if name is None:
        return "the command runs as root (uid 0)"
    return (
        f"the command runs as root (uid 0): sudo, called by {name}, started a program "
        "that started egressmon"
    )


@dataclass(slots=True)
class Escalation:
    """Whether the command is root, or can become root."""

    as_root: str | None
    """Why it runs as root; None if it does not."""
    can_sudo: str | None
    """How it can become root; None if it cannot."""
    withheld_by: str | None
    """The value of `enforce` that forbids it to gain rights; None if it may."""
    was_refused: bool = False
    """Whether a sudo of the command failed, presumably because of `withheld_by`."""

    def on_record(self, record: Record) -> None:
        """Note if `record` is the exit of a sudo that was refused (status 1)."""
        if self.withheld_by is None or not isinstance(record, ProcessRecord):
            return
        name = (record.exe or "").rpartition("/")[2]
        if record.exit is not None and record.exit.status == 1 and name in _ROOT_TOOLS:
            self.was_refused = True

    def notes(self) -> list[str]:
        """Return what the reports should tell people, a sentence each."""
        notes: list[str] = []
        if self.as_root is not None:
            notes.append(f"{self.as_root}: it can keep from egressmon what it does")
        if self.was_refused:
            notes.append(
                "sudo failed: the command may gain no rights under enforce = "
                f'"{self.withheld_by}"; [command] allow_sudo = true lets it'
            )
        return notes
