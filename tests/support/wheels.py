"""Environments with wheels, made once for all test runs, from locked requirements."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def environment_with(name: str) -> Path:
    """Return an environment with what `scripts/requirements/NAME.txt` lists.

    It is kept in the user's cache, by the content of that file.
    """
    locked = _ROOT / f"scripts/requirements/{name}.txt"
    wanted = locked.read_bytes() + sys.version.encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    where = (
        cache / "egressmon-tests" / f"{name}-{hashlib.sha256(wanted).hexdigest()[:16]}"
    )
    where.parent.mkdir(parents=True, exist_ok=True)
    with (where.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (where / "ready").exists():
            _make(where, locked)
    return where


def _make(where: Path, locked: Path) -> None:
    shutil.rmtree(where, ignore_errors=True)
    venv.create(where, with_pip=False, symlinks=True)
    pip = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "-q"]
    install = [
        "install",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "-r",
        str(locked),
    ]
    python = str(where / "bin/python")
    subprocess.run([*pip, "--python", python, *install], check=True)
    (where / "ready").touch()
