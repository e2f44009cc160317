"""What is to be inspected: an environment of Python's, or folders.

No interpreter is run to ask it, as that would run what is inspected.
"""

import os
import posixpath
import re
from pathlib import Path

from egressmon import files
from egressmon.errors import UsageError
from egressmon.files.bounded import read_bounded
from egressmon.text import printable
from egressmon.values import dataclass

_MAX_CONFIGURATION = 1 << 16
_INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*t?")
_HOME = re.compile(r"^home\s*=\s*(.+)$", re.MULTILINE)
_SYSTEM = re.compile(
    r"^include-system-site-packages\s*=\s*true", re.MULTILINE | re.IGNORECASE
)
_HINT = "name an interpreter such as .venv/bin/python, or a virtual environment"
_LOCAL = "/usr/local"  # Debian's /usr/bin/python3 has packages there, too


@dataclass(frozen=True, slots=True)
class Target:
    """A folder to be inspected, with all that is below it."""

    folder: str


def environment(path: str) -> list[Target]:
    """Return the folders of the environment at `path`, its interpreter or its folder.

    Raises UsageError.
    """
    prefix = _prefix(os.path.abspath(path))  # noqa: PTH100 -- links stay
    configuration = read_bounded(f"{prefix}/pyvenv.cfg", _MAX_CONFIGURATION)
    if configuration is not None:
        return [Target(prefix), *_base(configuration.decode("utf-8", "replace"))]
    found = _sites(prefix)
    if not found:
        raise UsageError(
            f"{printable(path)}: no environment of Python's is there", _HINT
        )
    return [Target(one) for one in found]


def _prefix(path: str) -> str:
    if Path(path).is_dir():
        return path
    folder, name = posixpath.split(path)
    if not os.path.lexists(path):
        raise UsageError(f"{printable(path)}: there is no such file", _HINT)
    if not _INTERPRETER.fullmatch(name) or posixpath.basename(folder) != "bin":
        raise UsageError(f"{printable(path)}: it is no interpreter in a bin/", _HINT)
    prefix = posixpath.dirname(folder)
    if os.path.lexists(f"{prefix}/pyvenv.cfg"):
        return prefix
    return posixpath.dirname(posixpath.dirname(os.path.realpath(path)))


# A virtual environment may have the packages of the interpreter that made it.
def _base(configuration: str) -> list[Target]:
    home = _HOME.search(configuration)
    if home is None or not _SYSTEM.search(configuration):
        return []
    return [Target(one) for one in _sites(posixpath.dirname(home[1].strip()))]


def _sites(prefix: str) -> list[str]:
    prefixes = [prefix, _LOCAL] if prefix == "/usr" else [prefix]
    found: dict[str, None] = {}
    for one in prefixes:
        for folder in _below([one], ("lib", ""), ("python3", ""), ("", "-packages")):
            found[os.path.realpath(folder)] = None
    return list(found)


def _below(folders: list[str], *parts: tuple[str, str]) -> list[str]:
    for begin, end in parts:
        folders = [
            f"{folder}/{name}"
            for folder in folders
            for name in _names(folder)
            if name.startswith(begin) and name.endswith(end)
        ]
    return [folder for folder in folders if Path(folder).is_dir()]


def _names(folder: str) -> list[str]:
    try:
        return sorted(files.names_in(folder))
    except OSError:
        return []
