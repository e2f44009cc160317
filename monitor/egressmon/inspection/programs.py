"""The programs that were inspected, each once, and what they are linked to."""

import os
import posixpath

from egressmon import files
from egressmon.inspection.budget import Budget
from egressmon.inspection.findings import Reason, Remarks
from egressmon.inspection.libraries import by_name
from egressmon.inspection.linked import is_of_the_system, located
from egressmon.inspection.program import Program, inspected
from egressmon.probes.architecture import machine
from egressmon.values import replace

_MACHINES = {"x86_64": 62, "aarch64": 183}
_MOST_DEEP = 16
_MOST_PROGRAMS = 100_000
_MOST_LOOKED_FOR = 200_000


class Programs:
    """Inspects files as they are asked for."""

    def __init__(self, paths: list[str], remarks: Remarks) -> None:
        """`paths` are the files of native code that are known.

        What cannot be inspected is told to `remarks`.
        """
        self._remarks = remarks
        self._budget = Budget()
        self._known: dict[tuple[int, int, int], Program] = {}
        self._reasons: dict[str, list[Reason]] = {}
        self._looked_for = 0
        self._by_name: dict[str, str] = {}
        self.real = {os.path.realpath(path): path for path in paths}
        """The paths by those without links."""
        for path in self.real:
            self._by_name.setdefault(posixpath.basename(path), path)

    def at(self, path: str) -> Program:
        """Return what is known of the file at `path`."""
        try:
            descriptor = files.open_regular(path)
        except (OSError, ValueError) as error:
            self._remarks.add(path, getattr(error, "strerror", None) or str(error))
            return Program()
        status = os.fstat(descriptor)
        key = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if key in self._known:
            os.close(descriptor)
        else:
            if len(self._known) >= _MOST_PROGRAMS:
                self._known.clear()
            self._known[key] = inspected(descriptor, self._budget)
        for problem in self._known[key].problems:
            self._remarks.add(path, problem)
        program = self._known[key]
        named = tuple(by_name(posixpath.basename(path)))
        return (
            replace(program, reasons=(*named, *program.reasons)) if named else program
        )

    def linked(self, path: str) -> list[tuple[str, str]]:
        """Return (name, path) of the libraries that the file at `path` is linked to.

        Those of the C library and the compiler are left out.
        """
        program = self.at(path)
        if program.machine != _MACHINES.get(machine(), program.machine):
            return []  # of another machine: nothing here is for it
        found: list[tuple[str, str]] = []
        for name in program.needed:
            place = self._located(name, path, program)
            # Where the file itself says where it is, it may be anybody's.
            if is_of_the_system(name) and (place is None or self.at(place).is_python):
                continue
            if place is None:
                self._remarks.add(path, f"it needs {name}, which is not there")
            else:
                found.append((name, place))
        return found

    # A library that is elsewhere in what is inspected may be loaded before.
    def _located(self, name: str, path: str, program: Program) -> str | None:
        self._looked_for += 1
        if self._looked_for > _MOST_LOOKED_FOR:
            return None
        return located(name, path, program.searched) or self._by_name.get(name)

    def reasons_below(self, path: str) -> list[Reason]:
        """Return why the library at `path`, or one it needs, could open connections."""
        if path not in self._reasons:
            self._reasons[path] = self._all_reasons(path, set(), 0)
        return self._reasons[path]

    def _all_reasons(self, path: str, seen: set[str], depth: int) -> list[Reason]:
        if path in seen or depth > _MOST_DEEP:
            return []
        seen.add(path)
        program = self.at(path)
        found = list(program.reasons)
        for _, place in self.linked(path):
            found += self._all_reasons(place, seen, depth + 1)
        # The sort is stable: what is sure first, and what is nearest.
        return sorted(dict.fromkeys(found), key=lambda one: not one.sure)
