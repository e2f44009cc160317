"""The scope's cgroup: found from mountinfo, made for one run, removed after it."""

import contextlib
import fcntl
import os
import secrets
import select
from collections.abc import Iterator
from pathlib import Path

from egressmon.errors import ScopeError

PREFIX = "egressmon-"
_EXIT_MS = 2000
_MOUNTINFO = Path("/proc/self/mountinfo")
_OWN = Path("/proc/self/cgroup")


def cgroup_root(mountinfo: str) -> Path:
    """Return where the cgroup v2 hierarchy is mounted, from mountinfo's text.

    The first mount of the hierarchy's own root wins over one of a part of it
    (proc(5): fields mount point and root). Raises ScopeError where there is none.
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


# The kernel writes space, tab, newline and backslash as octal (proc(5)).
def _unescape(text: str) -> str:
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        text = text.replace(f"\\{code}", character)
    return text


def find_root() -> Path:
    """Return where this machine's cgroup v2 hierarchy is mounted."""
    return cgroup_root(_MOUNTINFO.read_text())


def own_cgroup(root: Path, text: str) -> Path:
    """Return this process's cgroup below root, from /proc/self/cgroup's text.

    The root itself where the path is not below it (a cgroup namespace's `/..`).
    """
    for line in text.splitlines():
        if line.startswith("0::"):
            path = root / line[3:].lstrip("/")
            if ".." not in path.parts and path.is_dir():
                return path
    return root


class Scope:
    """A cgroup that holds one command and what it starts.

    Its folder stays locked (flock) while the run lives, in any pid namespace,
    so that the next run can tell what a killed one left.
    """

    def __init__(self, path: Path, root: Path, fd: int) -> None:
        self.path = path
        self.root = root
        self.fd = fd

    @property
    def level(self) -> int:
        """How far it is below the hierarchy's own root; 0: that root is not seen."""
        if (self.root / "cgroup.type").exists():
            return 0  # which the hierarchy's root alone has not (cgroup-v2.rst)
        return len(self.path.relative_to(self.root).parts)

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
        """Return the processes in the scope and below it."""
        found: list[int] = []
        for folder in (self.path, *self.path.glob("**/")):
            with contextlib.suppress(OSError):
                found += map(int, (folder / "cgroup.procs").read_text().split())
        return sorted(set(found))

    def remove(self) -> bool:
        """Remove the cgroup; False when processes still live in it."""
        if not self.pids():
            self._wait_until_empty()
        removed = _remove_tree(self.path)
        os.close(self.fd)
        return removed

    # A process that was waited for can still be on its way out of the cgroup;
    # the kernel tells of the change (cgroup-v2.rst, "[Un]populated Notification").
    def _wait_until_empty(self) -> None:
        with contextlib.suppress(OSError), (self.path / "cgroup.events").open() as file:
            poller = select.poll()
            poller.register(file, select.POLLPRI)
            while "populated 1" in file.read():
                if not poller.poll(_EXIT_MS):
                    return
                file.seek(0)


def make_scope() -> Scope:
    """Make the scope's cgroup below this process's own; raises ScopeError."""
    root = find_root()
    parents = dict.fromkeys((own_cgroup(root, _OWN.read_text()), root))
    errors: list[str] = []
    for parent in parents:
        sweep(parent)
        path = parent / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        try:
            path.mkdir()
            # A child of a threaded cgroup can hold no process (cgroup-v2.rst).
            if "invalid" in (path / "cgroup.type").read_text():
                path.rmdir()
                raise OSError(0, "its parent is a threaded cgroup")  # noqa: TRY301 -- next parent
        except OSError as error:
            errors.append(f"{parent}: {error.strerror}")
            continue
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return Scope(path, root, fd)
    raise ScopeError(
        "no cgroup could be made: " + "; ".join(errors),
        "run as root where cgroup v2 is writable; in a container, delegate it "
        "(docker: --privileged --cgroupns=host)",
    )


def sweep(parent: Path) -> None:
    """Remove what killed runs left in parent: unlocked, and nobody in it."""
    for path in _left_over(parent):
        _remove_tree(path)


def _left_over(parent: Path) -> Iterator[Path]:
    for path in parent.glob(f"{PREFIX}*"):
        # A run that begins right now has its folder before it has the lock.
        if Path("/proc", path.name.split("-")[1]).exists():
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its run lives
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
