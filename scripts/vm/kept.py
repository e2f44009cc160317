"""Folders made once and kept in the cache, older versions as long as they are used."""

import fcntl
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

_MADE = "made"
_held: dict[Path, int] = {}
"""The folders that this process uses, with the file that tells others so."""


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock file `path`: nobody else fetches meanwhile."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def get(cache: Path, name: str, made_of: object, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` in `cache` that was made of what `made_of` says.

    If there is none, `make` fills an empty one. It stays as long as this process lives;
    those that were made of something else are removed, unless a process uses them.
    """
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{sha256(repr(made_of).encode()).hexdigest()[:12]}"
    with locked(cache / f"lock-{name}"):
        if not (folder / _MADE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / _MADE).touch()
        _hold(folder)
        for other in cache.glob(f"{name}-*"):
            if other != folder:
                _remove_unused(other)
    return folder


def _hold(folder: Path) -> None:
    if folder not in _held:
        _held[folder] = os.open(folder / _MADE, os.O_RDONLY)
        fcntl.flock(_held[folder], fcntl.LOCK_SH)


def _remove_unused(folder: Path) -> None:
    try:
        made = os.open(folder / _MADE, os.O_RDONLY)
    except FileNotFoundError:  # it was left half made
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        fcntl.flock(made, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(made)
