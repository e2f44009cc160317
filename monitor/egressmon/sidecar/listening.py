"""Root's part of the control socket: its folder, its lock, and the socket itself."""

import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from egressmon.errors import EgressmonError
from egressmon.files.own_links import open_by_own_links
from egressmon.startup.ownership import obstacle

DEFAULT_FOLDER = "/run/egressmon"
SOCKET, LOCK = "control.sock", "lock"
_FOLDER_MODE, _SOCKET_MODE, _LOCK_MODE = 0o755, 0o666, 0o600
_BACKLOG = 128
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_PID = 20
_HINT = "name another folder with --runtime"


class RuntimeFolderError(EgressmonError):
    """The folder of the control socket cannot be used."""


class Place:
    """A listening control socket, alone in its folder for as long as it is held.

    The lock is this process's and that of each copy by fork: the copy that is to serve
    calls `leave`.
    """

    def __init__(self, folder: str) -> None:
        """Make `folder`, unless it is there, and listen in it.

        Raises RuntimeFolderError if another sidecar is there, or others than the
        effective user may have put something there.
        """
        self.path = f"{folder.rstrip('/')}/{SOCKET}"
        """Of the socket."""
        self._folder = _folder(folder)
        try:
            self._lock = _lock(self._folder, folder)
            try:
                self.sign()
                self.was_left = _remove_stale(self._folder, self.path)
                """Whether a sidecar was here that did not end in order."""
                self.listener, self._ours = _listen(self._folder, self.path)
            except BaseException:
                os.close(self._lock)
                raise
        except BaseException:
            os.close(self._folder)
            raise
        self._held: tuple[int, ...] = (self._folder, self._lock)

    def sign(self) -> None:
        """Say in the lock that it is this process's, as after a fork."""
        with suppress(OSError):
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def leave(self) -> None:
        """Let go of folder and lock, but not of the listening socket.

        Once is enough, and more does no harm: what went wrong is to be told then.
        """
        held, self._held = self._held, ()
        for descriptor in held:
            os.close(descriptor)

    def release(self) -> None:
        """Remove the socket, if it is still this one, and let another sidecar come.

        The listening socket is closed here, too.
        """
        self.listener.close()
        with suppress(OSError):
            if self._held and _identity(self._folder) == self._ours:
                os.unlink(SOCKET, dir_fd=self._folder)
        self.leave()


# The folders above may be reached by links of root's; the folder itself is no link.
def _folder(folder: str) -> int:
    parent, name = os.path.split(os.path.abspath(folder))  # noqa: PTH100 -- text in
    if not folder or not name or "\0" in folder:
        raise RuntimeFolderError(f"{folder!r} cannot be the runtime folder", _HINT)
    try:
        above = open_by_own_links(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0)
        try:
            found = _made(above, name)
        finally:
            os.close(above)
    except OSError as error:
        why = "is no folder" if isinstance(error, NotADirectoryError) else None
        why = why or f"cannot be made or opened: {error.strerror}"
        raise RuntimeFolderError(f"the runtime folder {folder} {why}", _HINT) from error
    if why := _why_not_ours(os.fstat(found)) or _obstacle(folder):
        os.close(found)
        raise RuntimeFolderError(
            f"the runtime folder {folder} cannot be used: {why}",
            f"others could put a socket there; {_HINT}",
        )
    return found


def _made(above: int, name: str) -> int:
    is_new = True
    try:
        os.mkdir(name, _FOLDER_MODE, dir_fd=above)
    except FileExistsError:
        is_new = False
    found = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
    if is_new:
        os.fchmod(found, _FOLDER_MODE)  # whatever the umask is
    return found


def _why_not_ours(found: os.stat_result) -> str:
    if found.st_uid != os.geteuid():
        return f"it belongs to uid {found.st_uid}"
    if found.st_mode & _OTHERS_WRITE:
        return "others than its owner can write there"
    return ""


# Whoever can write a folder above could exchange this one.
def _obstacle(folder: str) -> str:
    return obstacle(folder) if os.geteuid() == 0 else ""


def _lock(place: int, folder: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    path = f"{folder}/{LOCK}"
    try:
        lock = os.open(LOCK, flags, _LOCK_MODE, dir_fd=place)
    except OSError as error:
        raise RuntimeFolderError(
            f"{path} cannot be opened: {error.strerror}", f"remove it, or {_HINT}"
        ) from error
    if not stat.S_ISREG(os.fstat(lock).st_mode):
        os.close(lock)
        raise RuntimeFolderError(f"{path} is no file", f"remove it, or {_HINT}")
    try:
        os.fchmod(lock, _LOCK_MODE)  # who could open it could hold it
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        who = _holder(lock)
        os.close(lock)
        raise RuntimeFolderError(
            f"another sidecar is running there{who}",
            f"egressmon sidecar stop --runtime {folder}, or {_HINT}",
        ) from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def _holder(lock: int) -> str:
    with suppress(OSError):
        text = os.pread(lock, _MAX_PID, 0).strip()
        if text.isdigit():
            return f" (pid {int(text)})"
    return ""


# Under the lock: nobody listens there.
# Returns whether there was one. Who ends in order removes it.
def _remove_stale(folder: int, path: str) -> bool:
    try:
        found = os.stat(SOCKET, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(found.st_mode):
        raise RuntimeFolderError(
            f"{path} is there, and is no socket", f"remove it, or {_HINT}"
        )
    os.unlink(SOCKET, dir_fd=folder)
    return True


# By the folder's descriptor: the path of a socket has at most 107 bytes (unix(7)).
def _listen(folder: int, path: str) -> tuple[socket.socket, tuple[int, int]]:
    short = f"/proc/self/fd/{folder}/{SOCKET}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(short)
        Path(short).chmod(_SOCKET_MODE)
        ours = _identity(folder)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise RuntimeFolderError(
            f"cannot listen at {path}: {error.strerror}", _HINT
        ) from error
    return listener, ours


def _identity(folder: int) -> tuple[int, int]:
    found = os.stat(SOCKET, dir_fd=folder, follow_symlinks=False)
    return found.st_dev, found.st_ino
