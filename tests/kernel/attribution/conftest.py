"""Clients with native code: a virtual environment of their own, and C compiled here."""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from archive import Archive, unpack

HERE = Path(__file__).parent
SOURCES = HERE / "sources"
REQUIREMENTS = HERE / "requirements.txt"


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "egressmon-tests"


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def python() -> str:
    """An interpreter with the packages of requirements.txt: made once, then kept.

    A guest has no network: EGRESSMON_TEST_CLIENTS is the environment that it was given.
    """
    if given := os.environ.get("EGRESSMON_TEST_CLIENTS"):
        return f"{given}/bin/python"
    wanted = REQUIREMENTS.read_bytes() + sys.version.encode()
    name = hashlib.sha256(wanted).hexdigest()[:12]
    folder = _cache() / f"clients-{name}"
    interpreter, done = folder / "bin/python", folder / "done"
    with _locked(folder):
        if not done.exists():
            base = getattr(sys, "_base_executable", sys.executable)
            subprocess.run([base, "-m", "venv", str(folder)], check=True)
            pip = [str(interpreter), "-m", "pip", "install", "-q"]
            subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
            done.touch()
    return str(interpreter)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Compile sources/SOURCE.c as NAME with gcc's options; returns the file's path."""
    folder = tmp_path_factory.mktemp("compiled")

    @cache
    def compile_one(source: str, name: str, *options: str) -> str:
        target = folder / name
        # gcc for arm64 makes no programs of 32 bits; another one does.
        narrow = "-m32" in options and platform.machine() == "aarch64"
        gcc = "arm-linux-gnueabihf-gcc" if narrow else "gcc"
        own = [one for one in options if one != "-m32"] if narrow else options
        words = [gcc, "-O2", "-o", str(target), str(SOURCES / f"{source}.c")]
        subprocess.run([*words, *own], check=True)
        return str(target)

    return compile_one


@pytest.fixture(scope="session")
def extension(compiled: Callable[..., str]) -> str:
    """The folder of a Python extension module, `extension`."""
    include = f"-I{sysconfig.get_path('include')}"
    name = f"extension{sysconfig.get_config_var('EXT_SUFFIX')}"
    return str(Path(compiled("extension", name, "-shared", "-fPIC", include)).parent)


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of that name, as make left it, perhaps in an earlier run."""
    folder = _cache() / name
    with _locked(folder):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "done").touch()
    return folder


# Root folders, one for each python3.N to come with Debian.
def _make_roots(folder: Path) -> None:
    work = folder / "work"
    archive = Archive(work, [("debian", "sid")], "python3.")
    for name in sorted(archive.names):
        match = re.fullmatch(r"python3\.(\d+)(?:-nogil)?", name)
        if match is None or int(match.group(1)) < 13:
            continue
        for old in work.glob("archives/*.deb"):
            old.unlink()
        root = folder / name
        (root / "usr/lib64").mkdir(parents=True)
        (root / "srv").mkdir()
        for part in ("bin", "lib", "lib64"):
            (root / "usr" / part).mkdir(exist_ok=True)
            (root / part).symlink_to(f"usr/{part}")
        unpack(archive.download_all([name]), root)
    shutil.rmtree(work)


def _build_without_gil(folder: Path) -> None:
    archive = Archive(folder, [("debian", "trixie")], "python3.", "deb-src")
    source = archive.download_source("python3.13")
    subprocess.run(
        ["tar", "-x", "-C", folder, "--strip-components=1", "-f", source], check=True
    )
    source.unlink()
    fast = ("--without-ensurepip", "--disable-test-modules", "CFLAGS=-O1 -g0")
    with (folder / "log").open("w") as log:
        for words in (
            ["./configure", "-q", "--disable-gil", *fast],
            ["make", "-s", f"-j{os.cpu_count()}"],
        ):
            subprocess.run(words, cwd=folder, stdout=log, stderr=log, check=True)


@pytest.fixture(scope="session")
def free_threaded() -> str:
    """A CPython without the GIL (PEP 703), built from Debian's sources in minutes."""
    return str(_made_once("free-threaded-python", _build_without_gil) / "python")


@pytest.fixture(scope="session")
def newer_pythons() -> dict[str, Path]:
    """Debian's newest interpreters by name (python3.14), each with its root folder."""
    folder = _made_once("newest-pythons", _make_roots)
    return {one.name: one for one in folder.glob("python3.*")}
