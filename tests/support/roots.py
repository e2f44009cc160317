"""Debian in a folder: a clean machine, fetched once and copied for each use."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 300
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Run "$@" with the folder $0 as its root: a mount namespace of its own, the machine's
# processes, cgroups and network. Not chroot(2), which leaves the mount table as it is.
_ENTER = """
mount --bind "$0" "$0"
for name in proc sys dev; do mount --rbind /$name "$0/$name"; done
# As on a machine that was booted with cgroup v2 alone.
umount -R "$0/sys/fs/cgroup"
mount -t cgroup2 none "$0/sys/fs/cgroup"
mkdir -p "$0/old"
cd "$0"
pivot_root . old
umount -l /old
cd /
exec "$@"
"""


@dataclass(frozen=True)
class Root:
    """A folder with Debian in it."""

    path: Path

    def words(self, *command: str) -> list[str]:
        """Return the words that run `command` in it."""
        # As the machine's administrator would: nothing of the test's environment.
        clean = ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8"]
        enter = ["unshare", "-m", "--propagation", "private", "sh", "-euc", _ENTER]
        return [*clean, *enter, str(self.path), *command]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `command` in it, and return how it went."""
        return subprocess.run(
            self.words(*command),
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def add(self, file: Path) -> str:
        """Copy `file` into its /root, and return the path there."""
        shutil.copy(file, self.path / "root")
        return f"/root/{file.name}"


def archive(suite: str, packages: Sequence[str]) -> Path:
    """Return a tar file of Debian's `suite` with `packages`, fetched once."""
    folder = _CACHE / "egressmon-tests"
    folder.mkdir(parents=True, exist_ok=True)
    name = "-".join([suite, *packages])
    path = folder / f"root-{name}.tar"
    with (folder / "lock-roots").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            made = path.with_suffix(".tar.new")
            words = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar"]
            words += [f"--include={','.join(packages)}"] if packages else []
            subprocess.run([*words, suite, str(made)], check=True)
            made.rename(path)
    return path


@contextmanager
def root(suite: str, packages: Sequence[str] = ()) -> Generator[Root]:
    """Yield a copy of Debian's `suite` with `packages`, which is gone at the end."""
    source = archive(suite, packages)
    # Not where files are kept in memory, perhaps.
    folder = Path(tempfile.mkdtemp(prefix="egressmon-root-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        words = ["tar", "-xf", str(source), "-C", str(folder), "--exclude=./dev/*"]
        subprocess.run([*words, "--numeric-owner"], check=True)
        yield Root(folder)
    finally:
        shutil.rmtree(folder)
