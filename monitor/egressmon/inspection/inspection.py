"""Inspect folders: find the native code, ask each file, and say whose it is."""

import os
import posixpath
import re
from pathlib import Path

from egressmon.inspection.findings import Finding, Package, Reason, Unread
from egressmon.inspection.owners import Owners
from egressmon.inspection.program import Program
from egressmon.inspection.programs import Programs
from egressmon.inspection.tree import Tree
from egressmon.values import dataclass

_INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*t?")
_SHOWN = 2


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
    tree = Tree()
    tree.walk(folders)
    _look_beside(tree)
    found = _Inspection(tree).findings()
    return Result(found, tree.remarks.all(), tree.looked_at, len(tree.native))


# What a site records elsewhere (bin/), and the folders that it leads imports to.
def _look_beside(tree: Tree) -> None:
    for site in list(tree.sites.values()):
        for path in site.outside:
            if os.path.lexists(path) and not Path(path).is_dir():
                tree.look_at(path)
        tree.walk(list(site.led))


class _Inspection:
    def __init__(self, tree: Tree) -> None:
        self._paths = list(tree.native)
        self._programs = Programs(self._paths, tree.remarks)
        self._owners = Owners(tree.sites.values())

    def findings(self) -> tuple[Finding, ...]:
        found = [one for path in self._paths for one in self._of(path)]
        found.sort(
            key=lambda one: (one.package.manager, one.package.name.lower(), one.path)
        )
        return tuple(found)

    def _of(self, path: str) -> list[Finding]:
        program = self._programs.at(path)
        if _is_interpreter(path, program):
            return []
        found: list[Finding] = []
        for package, note in self._owners.of(path):
            reasons = (*program.reasons, *self._needs(path, package))
            if reasons:
                found.append(Finding(package, path, reasons, note))
        return found

    # Those of the libraries in other packages, or in none.
    def _needs(self, path: str, package: Package) -> list[Reason]:
        found: list[Reason] = []
        for name, place in self._programs.linked(path):
            known = self._programs.real.get(place)
            if known is not None and package in [
                one for one, _ in self._owners.of(known)
            ]:
                continue  # which is reported itself
            reasons = self._programs.reasons_below(place)
            if reasons:
                told = "; ".join(one.what for one in reasons[:_SHOWN])
                what = f"needs {name} ({self._whose(place)}), which {told}"
                found.append(Reason("needs", what, sure=reasons[0].sure))
        return found

    def _whose(self, path: str) -> str:
        package, _ = self._owners.of(self._programs.real.get(path, path))[0]
        if package.manager == "none":
            return path
        return f"{path}, of {package.name} {package.version or ''}".rstrip()


# The interpreter's own: what it can do is what the guard is for.
def _is_interpreter(path: str, program: Program) -> bool:
    folder, name = posixpath.split(path)
    if posixpath.basename(folder) != "bin" or not _INTERPRETER.fullmatch(name):
        return False
    return program.is_python or "Py_BytesMain" in program.names
