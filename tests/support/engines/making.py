"""Make a Debian root folder with container engines in it, once, and keep it.

Its packages come from the machine's own Debian mirror, and Debian's signatures are
checked. The folder is root's, and nothing that runs in it writes to it (room.py).
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from archive import KEYRING, ArchiveError, mirror

SUITE = "trixie"
# What is written of the versions of, by the command that is tried.
ENGINES = ("runc", "crun", "docker.io", "containerd", "podman", "buildah")
PACKAGES = (
    *ENGINES,
    *("docker-cli", "docker-buildx", "netavark", "aardvark-dns", "passt"),
    *("slirp4netns", "uidmap", "fuse-overlayfs", "iptables", "nftables"),
    *("busybox-static", "ca-certificates", "iproute2", "procps"),
    "libexpat1",  # the machine's Python wants it
)
# Pages that nobody reads there: they are a third of what would be unpacked.
_UNREAD = ("man", "doc", "locale", "info")
_MADE = "made.json"


def cache() -> Path:
    """Return the folder that root folders are kept in."""
    above = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return above / "egressmon-engines"


def root(where: Path) -> Path:
    """Return the root folder in `where`, made if it is not there; raises ArchiveError.

    It takes half a minute, and 0.7 GB. One of other packages gets a folder of its own.
    """
    where.mkdir(mode=0o755, parents=True, exist_ok=True)
    name = sha256(repr((SUITE, PACKAGES, _UNREAD)).encode()).hexdigest()[:12]
    folder = where / f"{SUITE}-{name}"
    with _locked(where / "lock"):
        if not (folder / _MADE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder)
    return folder / "root"


def versions(root: Path) -> dict[str, str]:
    """Return the version of each of its packages."""
    found = json.loads((root.parent / _MADE).read_text())
    return {str(name): str(version) for name, version in found.items()}


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(folder: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise ArchiveError("not installed: mmdebstrap (scripts/test-engines does)")
    sys.stderr.write(f"engines: making a root folder of Debian {SUITE}\n")
    folder.mkdir(mode=0o755)
    target = folder / "root"
    unread = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _UNREAD]
    words = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=directory"]
    words += [*unread, f"--include={','.join(PACKAGES)}", SUITE, str(target)]
    source = f"deb [signed-by={KEYRING}] {mirror()}/debian {SUITE} main"
    done = subprocess.run(
        [*words, source], check=False, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise ArchiveError(f"mmdebstrap failed: {done.stderr[-2000:]}")
    # Written last: root() takes a folder with it as complete.
    (folder / _MADE).write_text(json.dumps(_installed(target)))


def _installed(target: Path) -> dict[str, str]:
    words = ["dpkg-query", f"--admindir={target}/var/lib/dpkg", "-W"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    pairs = (line.split("\t") for line in done.stdout.splitlines())
    return {name: version for name, version in pairs if version}
