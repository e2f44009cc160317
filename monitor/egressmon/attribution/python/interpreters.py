"""The builds of CPython that the probes know: read from their files, before they run.

The probes find an interpreter in a process by its shape (interpreter.h). A file that
is not known when its first process connects is read as soon as it is executed or
mapped; what that process called until then has no frames, and is counted.
"""

import ctypes
import os
import re
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from egressmon import files
from egressmon.attribution.python.offsets import (
    DEBUG_OFFSETS_SIZE,
    TABLE,
    read_debug_offsets,
)
from egressmon.files.bounded import open_regular
from egressmon.files.elf import Elf, ElfError
from egressmon.probes.kernel.sideband import Ended, Executed, Forked, Mapped
from egressmon.probes.wire import CONSTANTS, STRUCTS

_MAX_KNOWN = 4096
_MAX_FIRST_LINE = 256
_MAX_FOLDERS = 64
_MAX_LIKELY = 16
_NAME = re.compile(r"python3(?:\.\d+t?)?")
_LIBRARY = re.compile(r"libpython3\..*\.so\..*")
# The size of _PyRuntime, which says its version where Py_Version (3.11) is missing.
_RUNTIME_SIZES = {656: 9, 672: 10}
_NEEDED, _RUNPATH, _RPATH = 1, 29, 15


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A file with CPython in it."""

    path: str
    contexts: tuple[int, int] | None
    """Where in it Contexts are copied (PyContext_CopyCurrent), and where freed."""
    file: tuple[int, int]
    """Its device and inode, as stat(2) has them."""


class Finder(Protocol):
    """The probes, as far as they look for interpreters."""

    def add(self, interpreter: bytes) -> bool:
        """Look for that build, too; False: there are too many."""
        ...

    def look_again(self) -> None:
        """Look once more in processes that had none."""


def read_interpreter(elf: Elf) -> bytes | str | None:
    """Return the build of CPython in elf (struct interpreter).

    None: there is none. A string says why it is of no use. Raises ElfError.
    """
    runtime = elf.symbol("_PyRuntime")
    code = elf.symbol("PyCode_Type")
    kind = elf.symbol("PyType_Type")
    if runtime is None or code is None or kind is None:
        return None
    minor, offsets = _version(elf, runtime)
    if not offsets:
        return f"CPython 3.{minor} is not known" if minor else "CPython before 3.9"
    size = elf.exactly(elf.offset_of(code[0]) + offsets["type_size"], 8)
    environ_kind, environ = _environ(elf)
    known = STRUCTS["interpreter"](
        dynamic=elf.dynamic_address,
        runtime=runtime[0],
        code_type=code[0],
        type_type=kind[0],
        code_size=struct.unpack("<Q", size)[0],
        environ=environ,
        environ_kind=environ_kind,
        minor=minor,
        **offsets,
    )
    return ctypes.string_at(ctypes.addressof(known), ctypes.sizeof(known))


def _version(elf: Elf, runtime: tuple[int, int]) -> tuple[int, dict[str, int]]:
    address, size = runtime
    try:
        data = elf.read(elf.offset_of(address), DEBUG_OFFSETS_SIZE)
    except ElfError:
        data = b""  # before 3.13 all of it is zero, and not in the file
    told = read_debug_offsets(data)
    if told is not None:
        return told
    version = elf.symbol("Py_Version")
    if version is None:
        minor = _RUNTIME_SIZES.get(size, 0)
    else:
        word = elf.exactly(elf.offset_of(version[0]), 4)
        minor = int.from_bytes(word, "little") >> 16 & 0xFF
    return minor, dict(TABLE.get(minor, {}))


# The C library's variable: copied into a program that is at a fixed address.
def _environ(elf: Elf) -> tuple[int, int]:
    for name in ("environ", "__environ"):
        if (here := elf.symbol(name)) is not None:
            return CONSTANTS["ENVIRON_HERE"], here[0]
        if (pointer := elf.pointer_to(name)) is not None:
            return CONSTANTS["ENVIRON_LINKED"], pointer
    return CONSTANTS["ENVIRON_NONE"], 0


# A type's slot for what frees its objects is two words behind their size.
def _contexts(elf: Elf, build: bytes) -> tuple[int, int] | None:
    copies = elf.symbol("PyContext_CopyCurrent")
    kind = elf.symbol("PyContext_Type")
    if copies is None or kind is None:
        return None
    size = STRUCTS["interpreter"].from_buffer_copy(build).type_size
    freed = elf.pointer_at(kind[0] + size + 16)
    if not freed:
        return None
    return elf.offset_of(copies[0]), elf.offset_of(freed)


def context_places(descriptor: int) -> tuple[int, int] | None:
    """Return Interpreter.contexts of the open file, which is closed; None: it has none.

    Raises OSError.
    """
    try:
        elf = Elf(descriptor)
    except ValueError:
        return None
    try:
        build = read_interpreter(elf)
        return _contexts(elf, build) if isinstance(build, bytes) else None
    except (ArithmeticError, ValueError, struct.error):
        return None
    finally:
        elf.close()


class Interpreters:
    """Has the probes know each interpreter once."""

    def __init__(self, finder: Finder) -> None:
        """Finder is the probes."""
        self._finder = finder
        self._files: dict[tuple[int, ...], Interpreter | None] = {}
        self._builds: set[bytes] = set()
        self._mapped: dict[tuple[bytes, object], Interpreter | None] = {}
        self._executed: set[int] = set()
        self.unknown: dict[str, str] = {}
        """Why interpreters are of no use, by path."""

    def prepare(self, command: Iterable[bytes], path: bytes) -> Interpreter | None:
        """Know what command, looked for in path, is likely to run, and return it."""
        folders = os.fsdecode(path)
        words = [os.fsdecode(word) for word in command]
        program = _which(words[0], folders) if words else None
        for file in _likely(folders):
            self.consider(file)
        if program is None:
            return None
        return self.consider(_interpreter_of_script(program, folders) or program)

    def executed(self, pid: int) -> Interpreter | None:
        """Return the interpreter that pid runs, by a path that leads there now."""
        path = f"/proc/{pid}/exe"
        found = self.consider(path)
        if found is not None and found.path.startswith("/proc/"):
            return replace(found, path=path)
        return found

    def saw(self, record: object) -> Interpreter | None:
        """Look at what a process executed or mapped; return the interpreter in it."""
        match record:
            case Executed():
                self._executed.add(record.pid)
            case Mapped():
                return self._saw_mapping(record)
            case Forked() | Ended():
                self._executed.discard(record.pid)
            case _:
                pass
        return None

    def _saw_mapping(self, record: Mapped) -> Interpreter | None:
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
        """Have the probes know the interpreter that the program path runs, if one.

        It is in the file itself or in a library that it needs.
        """
        try:
            descriptor = open_regular(path)
        except OSError:
            return None
        status = os.fstat(descriptor)
        key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
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
        except (ElfError, ArithmeticError, ValueError, struct.error):
            return None
        finally:
            elf.close()

    def _interpreter(self, elf: Elf, path: str) -> Interpreter | None:
        build = read_interpreter(elf)
        if build is None:
            libraries = map(self.consider, _libraries(elf, path))
            return next((one for one in libraries if one is not None), None)
        if isinstance(build, str):
            self.unknown[path] = build
        elif build not in self._builds:
            self._builds.add(build)
            if not self._finder.add(build):
                self.unknown[path] = "too many interpreters are known already"
        file = elf.status.st_dev, elf.status.st_ino
        contexts = _contexts(elf, build) if isinstance(build, bytes) else None
        return Interpreter(path, contexts, file)


# The agent's own interpreter, those of PATH, and the libraries that programs embed.
def _likely(folders: str) -> list[str]:
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
def _which(name: str, folders: str) -> str | None:
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
    machine = os.uname().machine
    return [f"/usr/lib/{machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]


# Where ld.so(8) would look for a libpython: it is likely enough, and no more.
def _libraries(elf: Elf, path: str) -> Iterator[str]:
    names = [name for name in elf.strings(_NEEDED) if name.startswith("libpython")]
    if not names:
        return
    try:
        origin = str(Path(files.real_path(path)).parent)
    except OSError:
        return
    folders = [
        folder.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)
        for tag in (_RUNPATH, _RPATH)
        for text in elf.strings(tag)
        for folder in text.split(":")
        if folder
    ]
    folders += [f"{origin}/../lib", *_library_folders()]
    for name in names:
        for folder in folders:
            if files.is_regular(f"{folder}/{name}"):
                yield f"{folder}/{name}"
                break


def _interpreter_of_script(file: str, folders: str) -> str | None:
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
        words = [_which(word, folders) or "" for word in words[-1:]]
    return words[0] if words else None
