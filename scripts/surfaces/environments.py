"""Make the environments that SDKs run in, once, from locked requirements."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


def python_with(name: str, cache: Path | None = None) -> Path:
    """Return a Python that has what `requirements/NAME.txt` lists."""
    locked = HERE / f"requirements/{name}.txt"

    def make(folder: Path) -> None:
        base = getattr(sys, "_base_executable", sys.executable)
        _run(base, "-I", "-m", "venv", folder)
        pip = (folder / "bin/python", "-I", "-m", "pip", "-q")
        install = ("--disable-pip-version-check", "install", "--require-hashes")
        _run(*pip, *install, "--only-binary", ":all:", "-r", locked)

    made_of = locked.read_bytes() + sys.version.encode()
    return _once(name, made_of, make, cache) / "bin/python"


def node_modules(cache: Path | None = None) -> Path:
    """Return a folder whose `node_modules` has what `npm/package-lock.json` lists."""
    locked = [HERE / "npm" / name for name in ("package.json", "package-lock.json")]

    def make(folder: Path) -> None:
        folder.mkdir()
        for path in locked:
            shutil.copy(path, folder)
        quiet = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts")
        _run("npm", "ci", *quiet, "--prefix", folder)

    made_of = b"".join(path.read_bytes() for path in locked)
    return _once("npm", made_of, make, cache)


def _once(
    name: str, made_of: bytes, make: Callable[[Path], None], cache: Path | None
) -> Path:
    cache = cache or _default_cache()
    folder = cache / f"surfaces-{name}-{hashlib.sha256(made_of).hexdigest()[:16]}"
    with _locked(cache / f"surfaces-{name}.lock"):
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / "ready").touch()
    return folder


@contextmanager
def _locked(path: Path) -> Generator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _default_cache() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "egressmon-tests"


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True)
