"""The part of an installation that runs as root: copy, verify and install wheels.

No code that a user can change is run. This module is imported from the verified copy
of the wheel that is to be installed, by the system's interpreter. pip uses no index and
no settings, and takes only wheels, so that nothing is built: the user offers the files,
and the hash of each must be in the lock file inside the verified wheel.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from zipfile import ZipFile

from egressmon.startup import installed, ownership

LOCK = "egressmon/requirements.txt"
"""The path of the lock file inside the wheel."""
_MAX_WHEEL = 256 << 20
_WHEEL = re.compile(r"[A-Za-z0-9_.+!-]+\.whl")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "PIP_CONFIG_FILE": os.devnull,
}
_PIP = ("--isolated", "--no-input", "--disable-pip-version-check", "--no-cache-dir")
_HASHED = ("--no-index", "--no-deps", "--require-hashes", "--only-binary", ":all:")


class RootInstallError(Exception):
    """The installation is refused, or one of its steps failed."""


def main(wheel: str, sha256: str, offered: str) -> int:
    """Install `wheel`, a copy that root owns and whose digest is `sha256`.

    The wheels that it depends on are taken from the folder `offered`. Print the
    installation's folder and return the exit status.
    """
    os.umask(0o022)
    os.chdir("/")
    try:
        folder = _install(Path(wheel), sha256, Path(offered))
    except (RootInstallError, OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"error: not installed: {str(error)!r}\n")
        return 125
    sys.stdout.write(f"{folder}\n")
    return 0


def _install(wheel: Path, sha256: str, offered: Path) -> Path:
    root = installed.place()
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    _require_root_only(ownership.obstacle(str(root)))
    version = wheel.name.split("-")[1]
    folder = root / installed.folder_name(version, sha256)
    with _locked(root):
        if installed.read(folder) is None:
            requirements = _requirements(wheel, sha256)
            _copy_wheels(offered, wheel.parent, requirements)
            _make(folder, wheel.parent, requirements)
            _mark_as_finished(folder, wheel.name, version, sha256)
        _link_launcher(root / installed.LAUNCHER, folder)
    return folder


def _require_root_only(obstacle: str) -> None:
    if obstacle:
        raise RootInstallError(f"not root's alone: {obstacle}")


@contextlib.contextmanager
def _locked(root: Path) -> Generator[None]:
    with (root / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _requirements(wheel: Path, sha256: str) -> str:
    with ZipFile(wheel) as archive:
        lock = archive.read(LOCK).decode()
    return f"{lock}\n{wheel} --hash=sha256:{sha256}\n"


# Copy the offered wheels to the folder `staging`, if the lock file has their hashes.
# Links are not followed, and only regular files are read.
def _copy_wheels(offered: Path, staging: Path, requirements: str) -> None:
    known = set(_HASH.findall(requirements))
    for path in sorted(offered.iterdir()):
        if not _WHEEL.fullmatch(path.name):
            continue
        data = _read(path)
        if hashlib.sha256(data).hexdigest() not in known:
            raise RootInstallError(f"{path.name} is not what the lock file names")
        (staging / path.name).write_bytes(data)


def _read(path: Path) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 -- a descriptor
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_WHEEL:
            raise RootInstallError(f"{path.name} is no wheel")
        return file.read(_MAX_WHEEL)


def _make(folder: Path, staging: Path, requirements: str) -> None:
    if folder.exists():
        shutil.rmtree(folder)  # left by an installation that was not finished
    python = str(folder / "bin/python")
    listed = staging / "requirements.txt"
    listed.write_text(requirements)
    try:
        _run(sys.executable, "-I", "-m", "venv", str(folder))
        install = [python, "-I", "-m", "pip", "--quiet", *_PIP, "install", *_HASHED]
        _run(*install, "--find-links", str(staging), "--requirement", str(listed))
        # pip is no longer needed: code that is not there cannot be misused.
        _run(python, "-I", "-m", "pip", "--quiet", *_PIP, "uninstall", "--yes", "pip")
        _require_root_only(ownership.obstacle_in_tree(str(folder)))
        _run(python, "-I", "-m", "egressmon", "--version")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _run(*words: str) -> None:
    done = subprocess.run(  # noqa: S603 -- our own words
        words,
        check=False,
        cwd="/",
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
    )
    if done.returncode:
        raise RootInstallError(f"{words[0]}: {done.stdout[-2000:]}")


def _mark_as_finished(folder: Path, wheel: str, version: str, sha256: str) -> None:
    facts = {"wheel": wheel, "version": version, "sha256": sha256}
    facts["by"] = os.environ.get("SUDO_UID", "0")
    new = folder / f"{installed.MARK}.new"
    new.write_text(json.dumps(facts, indent=1) + "\n")
    new.rename(folder / installed.MARK)


# Make `bin/egressmon` beside the installations a link to the one in `folder`.
def _link_launcher(link: Path, folder: Path) -> None:
    link.parent.mkdir(mode=0o755, exist_ok=True)
    new = link.with_name("egressmon.new")
    new.unlink(missing_ok=True)
    new.symlink_to(f"../{folder.name}/{installed.LAUNCHER}")
    new.rename(link)
