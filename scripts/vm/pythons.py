"""Pythons of Debian's, for this machine, to compile modules for a guest's Python.

A guest is slow, and would compile in each process. Compiled modules are the same for
every architecture, and differ from one minor version of Python to the next.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from architectures import PYTHONS
from archive import Archive, ArchiveError, unpack
from kept import locked

_REWRITING = Path(__file__).with_name("rewriting.py")
# Of this machine's architecture: where the loader of its programs lies.
_LOADERS = {
    "x86_64": "lib64/ld-linux-x86-64.so.2",
    "aarch64": "lib/ld-linux-aarch64.so.1",
}


def compile_all(
    version: str, cache: Path, folders: Sequence[Path], strip: Path | None = None
) -> None:
    """Compile what is not compiled yet in `folders` for Python `version`.

    `strip` is taken off the front of the paths that compiled modules tell.
    Raises ArchiveError.
    """
    words = [*_python(version, cache), "-m", "compileall", "-q", "-x", r"/\.venv/"]
    if strip is not None:
        words += ["-s", str(strip), "-p", "/"]
    # A file of an unusual syntax, a test's, stays as it is.
    subprocess.run([*words, *map(str, folders)], check=False, stdout=subprocess.DEVNULL)


def rewrite_asserts(
    version: str, cache: Path, packages: Path, folders: Sequence[Path]
) -> None:
    """Compile tests in `folders` as pytest does; `packages` has it for that version.

    Raises ArchiveError.
    """
    words = [*_python(version, cache), str(_REWRITING), str(packages)]
    done = subprocess.run([*words, *map(str, folders)], check=False)
    if done.returncode:
        raise ArchiveError(f"pytest of Python {version} cannot compile the tests")


# The words that run this machine's Python of that version, out of a folder of its own.
def _python(version: str, cache: Path) -> list[str]:
    folder = cache / f"python{version}"
    with locked(cache / "lock-pythons"):
        if not folder.exists():
            _make(version, folder)
    root = folder / "root"
    (library,) = root.glob("usr/lib/*-linux-gnu")
    loader = root / _LOADERS[platform.machine()]
    program = root / f"usr/bin/python{version}"
    environment = ["env", "-i", f"PYTHONHOME={root}/usr", "LANG=C.UTF-8"]
    paths = os.pathsep.join(map(str, (library, root / "lib", root / "usr/lib")))
    return [
        *environment,
        str(loader),
        "--library-path",
        paths,
        str(program),
        "-B",
        "-s",
    ]


def _make(version: str, folder: Path) -> None:
    (suite,) = (name for name, python in PYTHONS.items() if python == version)
    making = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    root, work = making / "root", making / "packages"
    archive = Archive(work, [("debian", suite)], "python3")
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    unpack(archive.download_all([f"python{version}-minimal"]), root)
    unpack(archive.download_all([f"libpython{version}-stdlib"]), root)
    shutil.rmtree(work)
    making.rename(folder)
