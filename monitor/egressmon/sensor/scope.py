"""The scope's cgroup: created for one run below the cgroup v2 mount, then removed."""

import contextlib
import fcntl
import os
import re
import secrets
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from egressmon.errors import ScopeError

PREFIX = "egressmon-"
_OURS = re.compile(rf"{PREFIX}(\d+)-[0-9a-f]{{8}}", re.ASCII)
_EXIT_MS = 2000
_KILLS = 100
_MOUNTINFO = Path("/proc/self/mountinfo")
_OWN = Path("/proc/self/cgroup")


def cgroup_root(mountinfo: str) -> Path:
    """Return where the cgroup v2 hierarchy is mounted; `mountinfo` is that file's text.

    A mount of the hierarchy's root is preferred to one of a part of it (proc(5), fields
    4 "root" and 5 "mount point"). Raises `ScopeError` if there is none.
    """
    partial: Path | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words = before.split()
        if len(words) < 5 or after.split()[:1] != ["cgroup2"]:
            continue
        point = Path(_unescape(words[4]))
        if words[3] == "/":
            return point
        partial = partial or point
    if partial is None:
        raise ScopeError(
            "no cgroup v2 hierarchy is mounted",
            "mount one: mount -t cgroup2 none /sys/fs/cgroup/unified (or boot with "
            "systemd.unified_cgroup_hierarchy=1)",
        )
    return partial


# The kernel writes space, tab, newline and backslash as octal escapes (proc(5)).
def _unescape(text: str) -> str:
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        text = text.replace(f"\\{code}", character)
    return text


def find_root() -> Path:
    """Return where this machine's cgroup v2 hierarchy is mounted."""
    return cgroup_root(_MOUNTINFO.read_text())


def own_cgroup(root: Path, text: str) -> Path:
    """Return this process's cgroup below `root`; `text` is that of /proc/self/cgroup.

    Return `root` itself if the cgroup is not below it (`/..` in a cgroup namespace).
    """
    for line in text.splitlines():
        if line.startswith("0::"):
            path = root / line[3:].lstrip("/")
            if ".." not in path.parts and path.is_dir():
                return path
    return root


class Scope:
    """A cgroup that holds one command and its descendants.

    Its folder is locked (flock) as long as the run lives. So a later run, in any pid
    namespace, can tell whether the cgroup was left behind by a run that was killed.
    """

    def __init__(self, path: Path, fd: int, *, root: Path) -> None:
        self.path = path
        self.root = root
        self.fd = fd
        self.watched = path
        """The cgroup whose processes are watched."""
        self.watched_fd = fd
        self.mapped_fd: int | None = None
        """The cgroup of whose processes mappings are told; None: `watched_fd`."""

    @property
    def described(self) -> str:
        """Return what is watched, for people."""
        return str(self.watched)

    def let_go(self) -> None:
        """Close the open folders, in a process that leaves the cgroup to another."""
        for descriptor in {self.fd, self.watched_fd}:
            os.close(descriptor)

    @property
    def level(self) -> int:
        """How many levels it is below the hierarchy's root; 0 if that is invisible."""
        # Every cgroup but the hierarchy's root has this file (cgroup-v2.rst).
        if (self.root / "cgroup.type").exists():
            return 0
        return len(self.path.relative_to(self.root).parts)

    def make_socket(self) -> None:
        """Have a process of the scope's make a socket, and end."""
        child = os.fork()
        if child == 0:
            try:
                self.enter()
                socket.socket().close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    def enter(self) -> None:
        """Move the calling process into the scope."""
        (self.path / "cgroup.procs").write_text("0")

    def is_populated(self) -> bool:
        """Tell whether any process is left in the scope or below it."""
        try:
            events = (self.path / "cgroup.events").read_text()
        except OSError:
            return False
        return "populated 1" in events

    def pids(self) -> list[int]:
        """Return the pids of the processes in the scope and in cgroups below it."""
        found: list[int] = []
        for folder in (self.path, *self.path.glob("**/")):
            with contextlib.suppress(OSError):
                found += map(int, (folder / "cgroup.procs").read_text().split())
        return sorted(set(found))

    def kill(self) -> None:
        """Kill whatever still runs in the scope or below it."""
        with contextlib.suppress(OSError):  # since Linux 5.14, cgroup-v2.rst
            (self.path / "cgroup.kill").write_text("1")
            return
        for _ in range(_KILLS):  # each time, those that were forked meanwhile
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        """Remove the cgroup; return False if processes still live in it."""
        if not self.pids():
            self._wait_until_empty()
        removed = _remove_tree(self.path)
        self.let_go()
        return removed

    # A process may leave the cgroup a moment after waitpid(2) returned it. Wait for the
    # kernel's notice (cgroup-v2.rst, "[Un]populated Notification").
    def _wait_until_empty(self) -> None:
        with contextlib.suppress(OSError), (self.path / "cgroup.events").open() as file:
            poller = select.poll()
            poller.register(file, select.POLLPRI)
            while "populated 1" in file.read():
                if not poller.poll(_EXIT_MS):
                    return
                file.seek(0)


def make_scope() -> Scope:
    """Create the scope's cgroup below this process's own, or else below the root.

    Raises `ScopeError` if neither is possible.
    """
    root = find_root()
    parents = dict.fromkeys((own_cgroup(root, _OWN.read_text()), root))
    errors: list[str] = []
    for parent in parents:
        try:
            return Scope(*make_below(parent), root=root)
        except OSError as error:
            errors.append(f"{parent}: {error.strerror}")
    raise ScopeError(
        "no cgroup could be made: " + "; ".join(errors),
        "run as root where cgroup v2 is writable; in a container, delegate it "
        "(docker: --privileged --cgroupns=host)",
    )


def make_below(parent: Path) -> tuple[Path, int]:
    """Make a cgroup below `parent`; return its folder, and that opened and locked.

    Raises OSError.
    """
    sweep(parent)
    path = parent / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    path.mkdir()
    # Below a threaded cgroup, a new one cannot hold processes (cgroup-v2.rst).
    if "invalid" in (path / "cgroup.type").read_text():
        path.rmdir()
        raise OSError(0, "its parent is a threaded cgroup")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return path, fd


def sweep(parent: Path) -> None:
    """Remove the cgroups below `parent` that killed runs left: unlocked and empty."""
    for path in _left_over(parent):
        _remove_tree(path)


def _left_over(parent: Path) -> Iterator[Path]:
    for path in parent.glob(f"{PREFIX}*"):
        # Others may call theirs so, too: a service's slice, or a tool's.
        match = _OURS.fullmatch(path.name)
        # A run that is just starting may have created its folder, but not locked it.
        if match is None or Path("/proc", match[1]).exists():
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # locked: its run is still alive
        else:
            if "populated 0" in (path / "cgroup.events").read_text():
                yield path
        finally:
            os.close(fd)


def _remove_tree(path: Path) -> bool:
    for folder in sorted(path.glob("**/"), reverse=True):
        try:
            folder.rmdir()
        except OSError:
            return False
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()
