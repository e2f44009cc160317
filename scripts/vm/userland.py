"""A root folder of another architecture, for a guest: Debian's packages, unpacked.

Nothing of it runs on this machine: the packages are not configured, and what their
scripts would have made, and something needs, is written here.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dpkg_records
import kept
import pythons
from architectures import PYTHONS
from archive import Archive, unpack

# What the agent and the kernel tests use: compilers, the lab's programs and clients.
_PACKAGES = (
    *("base-files", "base-passwd", "bash", "busybox-static", "coreutils", "dash"),
    *("debianutils", "diffutils", "findutils", "grep", "gzip", "hostname", "kmod"),
    *("login", "mawk", "mount", "netbase", "passwd", "procps", "sed", "strace", "sudo"),
    *("tar", "util-linux"),
    *("python3", "python3-dev", "python3-venv", "libbpf1", "libbpf-dev", "libffi-dev"),
    *("binutils", "gcc", "libc6-dev", "make", "musl-tools", "libc-bin"),
    "gcc-arm-linux-gnueabihf",  # for programs of 32 bits
    *("bind9-dnsutils", "ca-certificates", "curl", "dnsmasq-base", "iproute2"),
    *("nftables", "nodejs", "openssl", "python3-bpfcc"),
)
_VERSION = 2  # raised when what is written besides them changes
_FOLDERS = ("proc", "sys", "dev", "run", "root", "etc", "mnt", "var/log", "opt")
# Pages that nobody reads there.
_UNREAD = ("man", "doc", "locale", "info")


def get(architecture: str, suite: str, cache: Path) -> Path:
    """Return the root folder of Debian's `suite`, made in `cache` if it is not there.

    It takes a minute or two, and 0.8 GB. Raises ArchiveError.
    """
    wanted = (_PACKAGES, _FOLDERS, _UNREAD, _VERSION)

    def make(folder: Path) -> None:
        _make(architecture, suite, folder, cache)

    return kept.get(cache, f"root-{architecture}-{suite}", wanted, make) / "root"


def _make(architecture: str, suite: str, folder: Path, cache: Path) -> None:
    print(f"vmtest: making a root folder of {suite}", file=sys.stderr, flush=True)
    work, root = folder / "packages", folder / "root"
    suites = [("debian", suite), ("debian-security", f"{suite}-security")]
    archive = Archive(work, suites, "base-", architecture=architecture)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).mkdir()
        (root / name).chmod(0o1777)
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    exclude = [f"--exclude=./usr/share/{name}/*" for name in _UNREAD]
    packages = archive.download_all(list(_PACKAGES))
    unpack(packages, root, *exclude)
    dpkg_records.write(packages, root)
    shutil.rmtree(work)
    _configure(root)
    # The guest would compile them anew in each process.
    pythons.compile_all(PYTHONS[suite], cache, [root / "usr/lib"], strip=root)


# What maintainer scripts would have made.
def _configure(root: Path) -> None:
    etc = root / "etc"
    for name in ("passwd", "group"):
        shutil.copyfile(root / f"usr/share/base-passwd/{name}.master", etc / name)
    for name, program in (("sh", "dash"), ("awk", "mawk")):
        path = root / "usr/bin" / name
        path.unlink(missing_ok=True)
        path.symlink_to(program)
    (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (etc / "nsswitch.conf").write_text(
        "hosts: files dns\npasswd: files\ngroup: files\n"
    )
    (etc / "resolv.conf").touch()  # tests mount theirs over it
    subprocess.run(["ldconfig", "-r", root], check=False, stderr=subprocess.DEVNULL)
    _trust(root)


# One file of the certificates, as update-ca-certificates(8) makes it.
def _trust(root: Path) -> None:
    found = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    target = root / "etc/ssl/certs/ca-certificates.crt"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"".join(one.read_bytes() for one in found))


def program(root: Path, name: str) -> str | None:
    """Return the path, in a guest with `root`, of a program, or None if it has none."""
    path = os.pathsep.join(f"{root}/usr/{folder}" for folder in ("bin", "sbin"))
    found = shutil.which(name, path=path)
    return found.removeprefix(str(root)) if found else None
