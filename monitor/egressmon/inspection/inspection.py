"""Inspect folders: find the native code, ask each file, and say whose it is."""

import os
import platform
import posixpath
import re
from pathlib import Path

from egressmon import files
from egressmon.attribution.packages import hashes
from egressmon.attribution.packages.lookup import Packages, Place
from egressmon.inspection.budget import Budget
from egressmon.inspection.distributions import Owner
from egressmon.inspection.findings import Finding, Package, Reason, Unread
from egressmon.inspection.linked import is_of_the_system, located
from egressmon.inspection.npm import npm_package
from egressmon.inspection.program import Program, inspected
from egressmon.inspection.tree import Tree
from egressmon.values import dataclass

_INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*t?")
_MACHINES = {"x86_64": 62, "aarch64": 183}
_MOST_DEEP = 16
_MOST_PROGRAMS = 100_000
_NOBODY = Package("none", "")


@dataclass(frozen=True, slots=True)
class Result:
    """What an inspection found."""

    findings: tuple[Finding, ...]
    unread: tuple[Unread, ...]
    looked_at: int
    """How many files were opened."""
    native: int
    """How many of them are native code."""


def inspect(folders: list[str]) -> Result:
    """Return what is found in `folders`, and below. Nothing of it is run."""
    return _Inspection().of(folders)


class _Inspection:
    def __init__(self) -> None:
        self._tree = Tree()
        self._budget = Budget()
        self._programs: dict[tuple[int, ...], Program] = {}
        self._unread: list[Unread] = []
        self._packages = Packages()
        self._by_name: dict[str, str] = {}

    def of(self, folders: list[str]) -> Result:
        self._tree.walk(folders)
        self._look_beside()
        for path in self._tree.native:
            self._by_name.setdefault(posixpath.basename(path), path)
        found = [one for path in self._tree.native for one in self._findings(path)]
        found.sort(
            key=lambda one: (one.package.manager, one.package.name.lower(), one.path)
        )
        return Result(
            tuple(found),
            tuple(dict.fromkeys((*self._tree.unread, *self._unread))),
            self._tree.looked_at,
            len(self._tree.native),
        )

    # What a site records elsewhere (bin/), and the folders that it leads imports to.
    def _look_beside(self) -> None:
        for site in list(self._tree.sites.values()):
            for path in site.outside:
                if os.path.lexists(path) and not Path(path).is_dir():
                    self._tree.look_at(path)
            self._tree.walk(site.led_to())

    def _findings(self, path: str) -> list[Finding]:
        program = self._program(path)
        if _is_interpreter(path, program):
            return []
        owners = self._owners(path)
        found: list[Finding] = []
        for package, note in owners:
            needs = self._needs(path, program, package)
            reasons = (*program.reasons, *needs)
            if reasons:
                found.append(Finding(package, path, reasons, note))
        return found

    def _program(self, path: str) -> Program:
        try:
            descriptor = files.open_regular(path)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._unread.append(Unread(path, why))
            return Program()
        status = os.fstat(descriptor)
        name = posixpath.basename(path)
        key = (status.st_dev, status.st_ino, status.st_mtime_ns, hash(name))
        if key in self._programs:
            os.close(descriptor)
        else:
            if len(self._programs) >= _MOST_PROGRAMS:
                self._programs.clear()
            self._programs[key] = inspected(descriptor, name, self._budget)
        program = self._programs[key]
        self._unread += (Unread(path, problem) for problem in program.problems)
        return program

    # Whoever lists it, if it is what was installed; else the npm package around it.
    def _owners(self, path: str) -> list[tuple[Package, str]]:
        listed = [
            one for site in self._tree.sites.values() for one in site.owners(path)
        ]
        if listed:
            return [_compared(path, one) for one in listed]
        for site in self._tree.sites.values():
            if (project := site.project_of(path)) is not None:
                return [(project, "")]
        package = npm_package(os.path.abspath(path))  # noqa: PTH100 -- of text
        return [(package or self._of_system(path) or _NOBODY, "")]

    def _of_system(self, path: str) -> Package | None:
        found = self._packages.of(Place(os.path.realpath(path)))
        match found.kind if found is not None else None:
            case ("debian" | "apk" | "rpm") as manager if found is not None:
                return Package(manager, found.name, found.version)
            case _:
                return None

    def _needs(self, path: str, program: Program, package: Package) -> list[Reason]:
        found: list[Reason] = []
        for name, place in self._linked(path, program):
            owners = [owner for owner, _ in self._owners(place)]
            if place in self._tree.native and package in owners:
                continue  # which is reported itself
            reasons = self._all_reasons(place, set(), 0)
            if not reasons:
                continue
            what = "; ".join(one.what for one in reasons[:2])
            sure = any(one.sure for one in reasons)
            found.append(
                Reason(
                    "needs", f"needs {name} ({self._whose(place)}), which {what}", sure
                )
            )
        return found

    # With those of the libraries that the library itself needs.
    def _all_reasons(self, path: str, seen: set[str], depth: int) -> list[Reason]:
        if path in seen or depth > _MOST_DEEP:
            return []
        seen.add(path)
        program = self._program(path)
        reasons = [one for one in program.reasons if one.sure] or list(program.reasons)
        for _, place in self._linked(path, program):
            reasons += self._all_reasons(place, seen, depth + 1)
        return sorted(reasons, key=lambda one: not one.sure)

    # (name, path) of the libraries that a file is linked to.
    def _linked(self, path: str, program: Program) -> list[tuple[str, str]]:
        if program.machine != _MACHINES.get(platform.machine(), program.machine):
            return []  # of another machine: nothing here is for it
        found: list[tuple[str, str]] = []
        for name in program.needed:
            if is_of_the_system(name):
                continue
            place = located(name, path, program.searched) or self._by_name.get(name)
            if place is None:
                why = f"it needs {name}, which is not there"
                self._unread.append(Unread(path, why))
            else:
                found.append((name, place))
        return found

    def _whose(self, path: str) -> str:
        package = self._packages.of(Place(path))
        if package is None:
            return path
        return f"{path}, of {package.name} {package.version or ''}".rstrip()


def _compared(path: str, owner: Owner) -> tuple[Package, str]:
    if hashes.fits(path, owner.digest) is not False:
        return owner.package, ""
    name = owner.package.name
    return _NOBODY, f"the RECORD of {name} lists it with another hash"


def _is_interpreter(path: str, program: Program) -> bool:
    folder, name = posixpath.split(path)
    if posixpath.basename(folder) != "bin" or not _INTERPRETER.fullmatch(name):
        return False
    return program.is_python or "Py_BytesMain" in program.names
