"""Which builds of CPython the probes know: each file is read once, and registered.

The probes find an interpreter in a process by its shape (interpreter.bpf.h). A file
that is not known when its first process connects is read as soon as it is executed or
mapped; what that process called until then has no frames, and is counted.
"""

import os
from collections.abc import Iterable
from typing import Protocol

from egressmon.attribution.python.builds import (
    MALFORMED,
    Interpreter,
    contexts_of,
    read_interpreter,
)
from egressmon.attribution.python.locations import (
    interpreter_of_script,
    likely_interpreters,
    needed_libpythons,
    which,
)
from egressmon.files.bounded import open_regular
from egressmon.files.elf import Elf, ElfError
from egressmon.probes.kernel.sideband import (
    Ended,
    Executed,
    Forked,
    Mapped,
    SideRecord,
)
from egressmon.values import replace

_MAX_KNOWN = 4096
_MAX_EXECUTED = 65536
_NO_ROOM = "too many interpreters are known already"


class Finder(Protocol):
    """The part of the probes that looks for interpreters in processes."""

    def add(self, interpreter: bytes) -> bool:
        """Add a build to the probes' table, or return False if the table is full."""
        ...

    def look_again(self) -> None:
        """Search processes without an interpreter once more, at their next call."""


class Interpreters:
    """Registers each build of CPython with the probes once."""

    def __init__(self, finder: Finder) -> None:
        """`finder` adds a build to the probes' table."""
        self._finder = finder
        self._files: dict[tuple[int, ...], Interpreter | None] = {}
        self._builds: set[bytes] = set()
        self._mapped: dict[tuple[bytes, object], Interpreter | None] = {}
        self._executed: set[int] = set()

    def prepare(self, command: Iterable[bytes], path: bytes) -> Interpreter | None:
        """Register what is likely to run; return the interpreter of `command`, if any.

        `path` is the PATH in which the command is looked for.
        """
        folders = os.fsdecode(path)
        words = [os.fsdecode(word) for word in command]
        program = which(words[0], folders) if words else None
        for file in likely_interpreters(folders):
            self.consider(file)
        if program is None:
            return None
        return self.consider(interpreter_of_script(program, folders) or program)

    def on_executed(
        self, pid: int, known: os.stat_result | None = None
    ) -> Interpreter | None:
        """Return the interpreter that `pid` now runs, with a path that opens.

        `known` is the status of its file; None: that must be looked up.
        """
        path = f"/proc/{pid}/exe"
        if known is not None and _key(known) in self._files:
            found = self._files[_key(known)]
        else:
            found = self.consider(path)
        if found is not None and found.path.startswith("/proc/"):
            return replace(found, path=path)
        return found

    def on_side_record(self, record: SideRecord) -> Interpreter | None:
        """Return the interpreter in the file that a process mapped, if there is one."""
        match record:
            case Executed():
                if len(self._executed) >= _MAX_EXECUTED:
                    self._executed.clear()  # of processes whose end was lost, mostly
                self._executed.add(record.pid)
            case Mapped():
                return self._on_mapping(record)
            case Forked() | Ended():
                self._executed.discard(record.pid)
        return None

    def _on_mapping(self, record: Mapped) -> Interpreter | None:
        program = record.pid in self._executed
        self._executed.discard(record.pid)
        if not program and b"python" not in record.path.rpartition(b"/")[2]:
            return None
        key = record.path, (record.device, record.inode)
        if key not in self._mapped:
            if len(self._mapped) >= _MAX_KNOWN:
                self._mapped.clear()
            path = os.fsdecode(record.path)
            roots = f"/proc/{record.pid}/root{path}", path
            found = (self.consider(one) for one in roots)
            self._mapped[key] = next((one for one in found if one is not None), None)
        if self._mapped[key] is not None and not program:
            # Loaded later than at the first call, perhaps.
            self._finder.look_again()
        return self._mapped[key]

    def consider(self, path: str) -> Interpreter | None:
        """Register the interpreter of the program at `path`, and return it, if any.

        It is in the file itself or in a library that the file needs.
        """
        try:
            descriptor = open_regular(path)
        except OSError:
            return None
        key = _key(os.fstat(descriptor))
        if key in self._files:
            os.close(descriptor)
            return self._files[key]
        if len(self._files) >= _MAX_KNOWN:
            self._files.clear()
        self._files[key] = found = self._read(descriptor, path)
        return found

    def _read(self, descriptor: int, path: str) -> Interpreter | None:
        try:
            elf = Elf(descriptor)
        except (OSError, ElfError, ArithmeticError, ValueError):
            return None
        try:
            return self._interpreter(elf, path)
        except MALFORMED:
            return None
        finally:
            elf.close()

    def _interpreter(self, elf: Elf, path: str) -> Interpreter | None:
        build = read_interpreter(elf)
        if build is None:
            libraries = map(self.consider, needed_libpythons(elf, path))
            return next((one for one in libraries if one is not None), None)
        file = elf.status.st_dev, elf.status.st_ino
        if isinstance(build, str):
            return Interpreter(path, None, file, build)
        unusable = None if self._register(build) else _NO_ROOM
        return Interpreter(path, contexts_of(elf, build), file, unusable)

    def _register(self, build: bytes) -> bool:
        if build not in self._builds:
            if not self._finder.add(build):
                return False
            self._builds.add(build)
        return True


def _key(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
