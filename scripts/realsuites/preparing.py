"""Fetch a suite's sdist and make its virtual environment, once, in the cache folder."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from catalogue import Suite

REQUIREMENTS = Path(__file__).parent / "requirements"
BUILD = REQUIREMENTS / "build.txt"


@dataclass(frozen=True)
class Prepared:
    """A suite that can be run."""

    suite: Suite
    python: Path
    """The interpreter of its virtual environment."""
    sources: Path
    """The unpacked sdist."""


def default_cache() -> Path:
    """Return the folder in the user's cache where the suites are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "egressmon-suites"


def prepared(suite: Suite, cache: Path) -> Prepared:
    """Return the suite, ready to run; made anew when what it is made of changed."""
    folder = cache / f"{suite.name}-{_fingerprint(suite)}"
    ready = Prepared(suite, folder / "venv/bin/python", folder / "sources")
    done = folder / "done"
    if not done.exists():
        print(f"suites: preparing {suite.name} in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _make(ready, folder)
        done.touch()
    return ready


@contextmanager
def locked(cache: Path, suite: Suite) -> Generator[None]:
    """Let nobody else prepare or run the suite in `cache`; wait until it is free."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{suite.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def requirements(suite: Suite) -> Path:
    """Return the lock file of what the suite's environment holds."""
    return REQUIREMENTS / f"{suite.name}.txt"


def _fingerprint(suite: Suite) -> str:
    made_of = (
        BUILD.read_bytes()
        + requirements(suite).read_bytes()
        + f"{suite.version} {suite.sha256} {sys.version}".encode()
    )
    return hashlib.sha256(made_of).hexdigest()[:12]


def _make(ready: Prepared, folder: Path) -> None:
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-I", "-m", "venv", folder / "venv"], check=True)
    _pip(ready, "install", "--require-hashes", "-r", BUILD)
    # Without isolation, for which pip would fetch what no hash is known of.
    locked = ("--require-hashes", "--no-build-isolation", "--use-pep517")
    _pip(ready, "install", *locked, "-r", requirements(ready.suite))
    unpack(fetch(ready, folder), ready.sources)
    own = ("--no-deps", "--no-index", "--no-build-isolation")
    _pip(ready, "install", *own, "--editable", ready.sources)


def fetch(ready: Prepared, folder: Path) -> Path:
    """Return the suite's sdist, downloaded into `folder`; pip checks its hash."""
    suite, wanted = ready.suite, folder / "sdist.txt"
    line = f"{suite.name}=={suite.version} --hash=sha256:{suite.sha256}\n"
    wanted.write_text(line, encoding="utf-8")
    own = ("--no-deps", "--no-build-isolation", "--no-binary", suite.name)
    _pip(
        *(ready, "download", *own, "--require-hashes", "-r", wanted),
        *("-d", folder / "sdist"),
    )
    return next((folder / "sdist").iterdir())


def unpack(sdist: Path, target: Path) -> None:
    """Unpack an sdist, without the folder that it consists of, into `target`."""
    target.mkdir()
    words = ("tar", "-x", "--no-same-owner", "--strip-components=1", "-f", sdist)
    subprocess.run([*words, "-C", target], check=True)


def _pip(ready: Prepared, *words: str | Path) -> None:
    pip = (ready.python, "-I", "-m", "pip", "-q", "--disable-pip-version-check")
    subprocess.run([*pip, *words], check=True)
