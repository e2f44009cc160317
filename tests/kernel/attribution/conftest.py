"""Clients with native code: a virtual environment of their own, and C compiled here."""

import fcntl
import hashlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = HERE / "sources"
REQUIREMENTS = HERE / "requirements.txt"


@pytest.fixture(scope="session")
def python() -> str:
    """An interpreter with the packages of requirements.txt: made once, then kept."""
    wanted = REQUIREMENTS.read_bytes() + sys.version.encode()
    name = hashlib.sha256(wanted).hexdigest()[:12]
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache_folder / "egressmon-tests" / f"clients-{name}"
    interpreter, done = folder / "bin/python", folder / "done"
    if not done.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
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
        words = ["gcc", "-O2", "-o", str(target), str(SOURCES / f"{source}.c")]
        subprocess.run([*words, *options], check=True)
        return str(target)

    return compile_one


@pytest.fixture(scope="session")
def extension(compiled: Callable[..., str]) -> str:
    """The folder of a Python extension module, `extension`."""
    include = f"-I{sysconfig.get_path('include')}"
    name = f"extension{sysconfig.get_config_var('EXT_SUFFIX')}"
    return str(Path(compiled("extension", name, "-shared", "-fPIC", include)).parent)
