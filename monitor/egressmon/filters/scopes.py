"""Whose traffic a filter is for: a cgroup's, a user's, or the whole machine's."""

import pwd
import re
from pathlib import Path

from egressmon.errors import ScopeError, UsageError
from egressmon.filters.model import Note
from egressmon.sensor.scope import find_root
from egressmon.text import printable
from egressmon.values import dataclass

_NFT_LOOKS_IN = Path("/sys/fs/cgroup")
"""Where nft(8) looks for the cgroups of `socket cgroupv2`."""
_PLAIN = re.compile(r"[\w@:.,+=~\\ -]+(?:/[\w@:.,+=~\\ -]+)*", re.ASCII)
_MAX_UID = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose traffic it is; with neither, the whole machine's."""

    cgroup: str | None = None
    """The path below the cgroup v2 hierarchy's root, without a slash at its ends."""
    below: str = ""
    """Where that hierarchy is mounted, below /sys/fs/cgroup."""
    uid: int | None = None

    @property
    def is_machine(self) -> bool:
        """Tell whether it is the whole machine."""
        return self.cgroup is None and self.uid is None

    def notes(self) -> tuple[Note, ...]:
        """Return what of the scope's traffic passes it by."""
        if self.uid is not None:
            text = "a set-uid program's sockets are its owner's, and are not filtered"
            return (Note("wider", "scope", text),)
        if self.cgroup is not None:
            text = "where the cgroup is made anew, nothing is filtered until --refresh"
            return (Note("wider", "scope", text),)
        return ()

    def __str__(self) -> str:
        """Return it in words."""
        if self.cgroup is not None:
            return f"cgroup {self.cgroup}"
        return "the whole machine" if self.uid is None else f"user id {self.uid}"


MACHINE = Scope()


def scope_of(cgroup: str | None, user: str | None) -> Scope:
    """Return the scope that the options name. Raises UsageError."""
    if cgroup is not None:
        return cgroup_scope(cgroup, _mounted())
    return MACHINE if user is None else Scope(uid=_uid(user))


def cgroup_scope(path: str, root: Path) -> Scope:
    """Return the scope of the cgroup at `path`; `root` is where cgroup v2 is mounted.

    `path` is that of its folder, or below the root of the hierarchy. Raises UsageError.
    """
    inner = path.removeprefix(f"{root}/").strip("/")
    if not _PLAIN.fullmatch(inner) or {".", ".."}.intersection(inner.split("/")):
        raise UsageError(
            f"--cgroup {printable(path)}: no cgroup that a filter can name",
            f"write the path below {root}, such as system.slice/agent.service",
        )
    below = str(root).removeprefix(str(_NFT_LOOKS_IN)).strip("/")
    return Scope(
        cgroup=inner, below=below if root.is_relative_to(_NFT_LOOKS_IN) else ""
    )


def require_there(scope: Scope) -> None:
    """Raise UsageError if the scope's cgroup is not there: nft needs its id."""
    if scope.cgroup is None:
        return
    folder = _NFT_LOOKS_IN / scope.below / scope.cgroup
    if not folder.is_dir():
        raise UsageError(
            f"--cgroup: there is no folder {printable(folder)}",
            "apply the filter when the cgroup has been made, and again when it is made "
            "anew: a filter knows it by its number",
        )


def _mounted() -> Path:
    try:
        return find_root()
    except (OSError, ScopeError):
        return _NFT_LOOKS_IN  # to render, none is needed: as most machines have them


def _uid(user: str) -> int:
    if user.isascii() and user.isdecimal():
        if int(user) > _MAX_UID:
            raise UsageError(f"--uid {printable(user)}: no user id", _USER_HINT)
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"--uid {printable(user)}: no such user", _USER_HINT
        ) from error


_USER_HINT = "name a user of this machine, or write the number"
