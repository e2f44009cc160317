"""The folder of systemd's units below a root folder, in which no link is followed.

Root runs what a unit says. So each folder from the root folder on must be root's (or
the caller's) alone, and none may be a symbolic link, which could lead to another place.
"""

import errno
import os
import secrets
import stat
from contextlib import suppress

from egressmon.errors import UsageError
from egressmon.values import dataclass

FOLDER = "etc/systemd/system"
"""Where an administrator's units are (systemd.unit(5)), below the root folder."""
_PART = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_BYTES = 1 << 16
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Found:
    """What has the unit's name: its text, or what it is if it is no readable file."""

    text: str | None
    what: str = "a file"


class UnitFolder:
    """The open folder of the units below a root folder; made where it is missing."""

    def __init__(self, root: str) -> None:
        """Open the folder below `root`. Raises `UsageError`."""
        self.path = f"{root.rstrip('/')}/{FOLDER}"
        self._fd = _open_below(root)

    def close(self) -> None:
        """Close the folder."""
        os.close(self._fd)

    def find(self, name: str) -> Found | None:
        """Return what is called `name` in the folder, or None. Raises `UsageError`."""
        try:
            fd = os.open(name, _OLD, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return Found(None, self._link(name))
            raise _refused(f"{self.path}/{name}", error) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return Found(None, "no regular file")
            return Found(os.read(fd, _MAX_BYTES).decode("utf-8", "replace"))
        finally:
            os.close(fd)

    # `systemctl mask` makes such a link, so it gets its own word.
    def _link(self, name: str) -> str:
        with suppress(OSError):
            if os.readlink(name, dir_fd=self._fd) == os.devnull:
                return "masked, a link to /dev/null"
        return "a symbolic link"

    def write(self, name: str, text: str) -> None:
        """Give the folder a file `name` with `text`, in place of what has that name.

        It is there as a whole or not at all. Raises `UsageError`.
        """
        beside = f".{name}.{secrets.token_hex(4)}"
        try:
            fd = os.open(beside, _NEW, 0o644, dir_fd=self._fd)
            try:
                with os.fdopen(fd, "wb") as file:
                    os.fchmod(fd, 0o644)
                    file.write(text.encode())
                    file.flush()
                    os.fsync(fd)
                os.rename(beside, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except OSError:
                with suppress(OSError):
                    os.unlink(beside, dir_fd=self._fd)
                raise
        except OSError as error:
            raise _refused(f"{self.path}/{name}", error) from error


# Each part is opened in the folder before it: swapping one meanwhile changes nothing.
def _open_below(root: str) -> int:
    above = [part for part in root.split("/") if part not in {"", "."}]
    fd, at = os.open("/", _PART), ""
    try:
        for number, part in enumerate([*above, *FOLDER.split("/")], 1):
            at = f"{at}/{part}"
            below = number > len(above)
            fd = _enter(fd, part, at, make=below)
            if number >= len(above):
                _require_own(fd, at)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _enter(folder: int, part: str, at: str, *, make: bool) -> int:
    try:
        made = make and _make(folder, part)
        inner = os.open(part, _PART, dir_fd=folder)
        if made:
            os.fchmod(inner, 0o755)  # whatever the umask says
    except OSError as error:
        raise _refused(at, error) from error
    os.close(folder)
    return inner


def _make(folder: int, part: str) -> bool:
    try:
        os.mkdir(part, 0o755, dir_fd=folder)
    except FileExistsError:
        return False
    return True


def _require_own(fd: int, at: str) -> None:
    found = os.fstat(fd)
    if found.st_uid not in {0, os.geteuid()}:
        why = f"belongs to uid {found.st_uid}"
    elif found.st_mode & _OTHERS_WRITE:
        why = "can be written by others"
    else:
        return
    raise UsageError(
        f"{at} {why}, who could change what root runs",
        "chown and chmod it, or name another folder with --root",
    )


def _refused(path: str, error: OSError) -> UsageError:
    # O_NOFOLLOW with O_DIRECTORY: a link is ENOTDIR.
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return UsageError(
            f"{path} is a symbolic link or no folder, and no link is followed",
            "name the folder itself with --root",
        )
    hint = "run it as root: sudo egressmon sidecar install-service"
    if error.errno not in {errno.EACCES, errno.EPERM}:
        hint = "see `systemctl status` and the folder; --print shows the unit"
    return UsageError(f"{path} cannot be written: {error.strerror}", hint)
