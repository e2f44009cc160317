"""Which package a file belongs to, with its version.

The records of package managers are read, never run. They may be damaged or hostile, so
everything read is bounded. What a folder says is kept until the folder changes.
"""

import json
import re
from pathlib import PurePosixPath

from egressmon.attribution.packages import python, system
from egressmon.attribution.packages.owner import Owner
from egressmon.evidence.records.code import PackageRecord
from egressmon.files.beginning import Beginning
from egressmon.files.bounded import Identity, open_regular, root_identity, text_at
from egressmon.files.elf import Elf, ElfError
from egressmon.values import dataclass

_MAX_JSON = 1 << 20
_MAX_KEPT = 65536
_STDLIB = re.compile(r"(.*)/lib(?:64)?/python(3\.\d+)t?/(?!(?:site|dist)-packages/).+")
_RUNTIME = re.compile(r"(.*)/(?:lib(?:64)?/libpython|bin/python)(3\.\d+)t?[^/]*")


@dataclass(frozen=True, slots=True)
class Place:
    """A file: its path as a process knows it, and that process's root folder."""

    path: str
    root: str = ""


class Packages:
    """Looks up the packages of files, and remembers the answers."""

    def __init__(self, beginning: Beginning | None = None) -> None:
        """`beginning` is the moment before the run, by default now."""
        self._beginning = beginning or Beginning()
        self._known: dict[tuple[str, Identity], Owner | None] = {}
        self.generation = 0
        """How often all answers were forgotten."""
        self._python = python.Distributions(self._beginning)
        self._system = system.SystemPackages(self._beginning)

    def of(self, place: Place) -> PackageRecord | None:
        """Return the package that owns the file at `place`, if one is known."""
        owner = self.owner(place)
        return owner.package if owner is not None else None

    def owner(self, place: Place) -> Owner | None:
        """Return the owner of the file at `place`, with how well that is known."""
        # A process's root is named by its number, which another may get.
        identity = root_identity(place.root)
        if identity is None:
            return None
        key = place.path, identity
        if key not in self._known:
            if len(self._known) >= _MAX_KEPT:
                self._known.clear()
                self.generation += 1
            self._known[key] = self._find(place)
        return self._known[key]

    def know_interpreter(self, path: str) -> None:
        """Remember `path`, which was executed, if it is a Python interpreter's.

        Editable installs are listed in the interpreter's folders alone.
        """
        self._python.know_interpreter(path)

    def _find(self, place: Place) -> Owner | None:
        try:
            return self._ask(place)
        except (OSError, ValueError, RecursionError):
            return None

    def _ask(self, place: Place) -> Owner | None:
        path = place.path
        if path.endswith(".node") or "/node_modules/" in path:
            return self._npm(place)
        return (
            self._python.owner(path, place.root)
            or self._system.owner(path, place.root)
            or _cpython(place)
        )

    # The nearest package.json that names something, and not past the package's own
    # folder. What says nothing on the way may have said something before.
    def _npm(self, place: Place) -> Owner | None:
        passed: str | None = None
        for folder in PurePosixPath(place.path).parents:
            account = f"{place.root}{folder}/package.json"
            data, why = self._beginning.read(account, _MAX_JSON)
            if data is None:
                passed = passed or self._beginning.why_path(f"{place.root}{folder}")
            else:
                found, passed = json.loads(data), passed or why
                name, version = text_at(found, "name"), text_at(found, "version")
                if name is not None and version is not None:
                    package = PackageRecord("npm", name, version)
                    return Owner.by(package, "package.json", passed)
            if _is_package_folder(folder):
                return None
        return None


def _is_package_folder(folder: PurePosixPath) -> bool:
    above = folder.parent
    if above.name.startswith("@"):
        above = above.parent
    return above.name == "node_modules"


# An interpreter that no package manager knows of: built from source, pyenv, uv.
def _cpython(place: Place) -> Owner | None:
    match = _STDLIB.fullmatch(place.path) or _RUNTIME.fullmatch(place.path)
    if match is None:
        return None
    prefix, series = match.groups()
    candidates = (
        place.path,
        *(f"{prefix}/lib/libpython{series}{end}" for end in (".so.1.0", ".so")),
        f"{prefix}/bin/python{series}",
    )
    for candidate in candidates:
        version = _python_version(f"{place.root}{candidate}")
        if version is not None:
            return Owner(PackageRecord("cpython", "cpython", version))
    why = "its path alone says so: no interpreter is there"
    return Owner(PackageRecord("cpython", "cpython", series), why)


# Py_Version (since 3.11) is a constant in the file: Include/patchlevel.h.
def _python_version(path: str) -> str | None:
    try:
        elf = Elf(open_regular(path))
    except (OSError, ElfError):
        return None
    try:
        found = elf.symbol("Py_Version")
        if found is None:
            return None
        word = int.from_bytes(elf.exactly(elf.offset_of(found[0]), 4), "little")
    except ElfError:
        return None
    finally:
        elf.close()
    level = {0xA: "a", 0xB: "b", 0xC: "rc"}.get(word >> 4 & 0xF)
    text = f"{word >> 24}.{word >> 16 & 0xFF}.{word >> 8 & 0xFF}"
    return f"{text}{level}{word & 0xF}" if level else text
