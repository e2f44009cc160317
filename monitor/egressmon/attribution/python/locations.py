"""Where interpreters are likely to be: on PATH, behind a script, in a library."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from egressmon import files
from egressmon.files.bounded import open_regular
from egressmon.files.elf import Elf
from egressmon.probes.architecture import machine

_MAX_FIRST_LINE = 256
_MAX_FOLDERS = 64
_MAX_LIKELY = 16
_NAME = re.compile(r"python3(?:\.\d+t?)?")
_LIBRARY = re.compile(r"libpython3\..*\.so\..*")
_NEEDED, _RUNPATH, _RPATH = 1, 29, 15  # DT_ tags: elf(5)


def likely_interpreters(folders: str) -> list[str]:
    """Return the agent's own interpreter, those in `folders`, and shared libpythons.

    `folders` is a PATH: separated by colons.
    """
    found = [sys.executable]
    for folder in folders.split(":")[:_MAX_FOLDERS]:
        if folder.startswith("/"):
            found += _named(folder, _NAME)
    for folder in _library_folders():
        found += _named(folder, _LIBRARY)
    once: dict[str, str] = {}
    for file in found:
        with suppress(OSError):
            once[files.real_path(file)] = file
    return list(once.values())[:_MAX_LIKELY]


def _named(folder: str, pattern: re.Pattern[str]) -> list[str]:
    try:
        names = files.names_in(folder)
    except OSError:
        return []
    return [f"{folder}/{name}" for name in names if pattern.fullmatch(name)]


# As shutil.which() has it, which would ask with this process's rights.
def which(name: str, folders: str) -> str | None:
    """Return the program that execvp(3) would run as `name`, with PATH `folders`."""
    if "/" in name:
        return name if files.is_regular(name) else None
    for folder in folders.split(":")[:_MAX_FOLDERS]:
        candidate = f"{folder or '.'}/{name}"
        with suppress(OSError):
            mode = files.status(candidate).st_mode
            if stat.S_ISREG(mode) and mode & 0o111:
                return candidate
    return None


def _library_folders() -> list[str]:
    return [
        f"/usr/lib/{machine()}-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    ]


# As ld.so(8) would search, but for its cache: likely enough, and no more.
def needed_libpythons(elf: Elf, path: str) -> Iterator[str]:
    """Yield the paths of the libpythons that `elf`, the program at `path`, needs."""
    names = [name for name in elf.strings(_NEEDED) if name.startswith("libpython")]
    if not names:
        return
    try:
        origin = str(Path(files.real_path(path)).parent)
    except OSError:
        return
    folders = _search_path(elf, origin)
    for name in names:
        for folder in folders:
            if files.is_regular(f"{folder}/{name}"):
                yield f"{folder}/{name}"
                break


def _search_path(elf: Elf, origin: str) -> list[str]:
    told = [
        folder.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)
        for tag in (_RUNPATH, _RPATH)
        for text in elf.strings(tag)
        for folder in text.split(":")
        if folder
    ]
    return [*told, f"{origin}/../lib", *_library_folders()]


def interpreter_of_script(file: str, folders: str) -> str | None:
    """Return what the first line of the script `file` names, or None (no script)."""
    try:
        descriptor = open_regular(file)
    except OSError:
        return None
    try:
        line = os.read(descriptor, _MAX_FIRST_LINE).partition(b"\n")[0]
    finally:
        os.close(descriptor)
    if not line.startswith(b"#!"):
        return None
    words = os.fsdecode(line[2:]).split()
    if words and words[0].endswith("/env"):
        words = [which(word, folders) or "" for word in words[-1:]]
    return words[0] if words else None
