"""What the probes need to know of an interpreter, read from its file before it runs."""

import ctypes
import struct

from egressmon.attribution.python.offsets.versions import (
    DEBUG_OFFSETS_SIZE,
    TABLES,
    read_debug_offsets,
)
from egressmon.files.elf import Elf, ElfError
from egressmon.probes.wire import CONSTANTS, STRUCTS
from egressmon.values import dataclass

# The size of _PyRuntime, which says its version where Py_Version (3.11) is missing.
_RUNTIME_SIZES = {656: 9, 672: 10}
# From a type's tp_basicsize to tp_methods and to tp_new, and an array of methods.
_TYPE_METHODS, _TYPE_NEW = 200, 280
_METHOD_SIZE = 32
_MAX_METHODS = 32
_ENDBR64 = b"\xf3\x0f\x1e\xfa"
MALFORMED = ElfError, ArithmeticError, ValueError, struct.error
"""What reading a damaged or hostile ELF file raises."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A file with CPython in it."""

    path: str
    contexts: tuple[int, ...] | None
    """The file offsets of three functions that return a new Context.

    PyContext_CopyCurrent, which asynchronous tasks begin with, and those of Context()
    and Context.copy(). Each takes 0.1 s to detach from, and other runs wait meanwhile.
    """
    file: tuple[int, int]
    """Its device and inode, as stat(2) has them."""
    unusable: str | None = None
    """Why the probes cannot read its frames, or None if they can."""


def read_interpreter(elf: Elf) -> bytes | str | None:
    """Return the build of CPython in `elf`, as a `struct interpreter`.

    Returns a string that says why the build cannot be used, or None if there is no
    CPython in the file. Raises ElfError.
    """
    runtime = elf.symbol("_PyRuntime")
    code = elf.symbol("PyCode_Type")
    kind = elf.symbol("PyType_Type")
    if runtime is None or code is None or kind is None:
        return None
    try:
        return _build(elf, runtime, code[0], kind[0])
    except MALFORMED:
        return "the interpreter's file is damaged"


def _build(elf: Elf, runtime: tuple[int, int], code: int, kind: int) -> bytes | str:
    minor, offsets = _version(elf, runtime)
    if not offsets:
        return f"CPython 3.{minor} is not known" if minor else "CPython before 3.9"
    size = elf.exactly(elf.offset_of(code) + offsets["type_size"], 8)
    environ_kind, environ = _environ(elf)
    known = STRUCTS["interpreter"](
        dynamic=elf.dynamic_address,
        runtime=runtime[0],
        code_type=code,
        type_type=kind,
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
    described = read_debug_offsets(data)
    if described is not None:
        return described
    version = elf.symbol("Py_Version")
    if version is None:
        minor = _RUNTIME_SIZES.get(size, 0)
    else:
        word = elf.exactly(elf.offset_of(version[0]), 4)
        minor = int.from_bytes(word, "little") >> 16 & 0xFF
    return minor, dict(TABLES.get(minor, {}))


# The C library's variable: copied into a program that is at a fixed address.
def _environ(elf: Elf) -> tuple[int, int]:
    for name in ("environ", "__environ"):
        if (here := elf.symbol(name)) is not None:
            return CONSTANTS["ENVIRON_HERE"], here[0]
        if (pointer := elf.pointer_to(name)) is not None:
            return CONSTANTS["ENVIRON_LINKED"], pointer
    return CONSTANTS["ENVIRON_NONE"], 0


def contexts_of(elf: Elf, build: bytes) -> tuple[int, ...] | None:
    """Return `Interpreter.contexts` of `build`, which was read from `elf`."""
    copies = elf.symbol("PyContext_CopyCurrent")
    kind = elf.symbol("PyContext_Type")
    if copies is None or kind is None:
        return None
    size = kind[0] + STRUCTS["interpreter"].from_buffer_copy(build).type_size
    found = (
        copies[0],
        elf.pointer_at(size + _TYPE_NEW),
        _method(elf, elf.pointer_at(size + _TYPE_METHODS), b"copy"),
    )
    return tuple(_entry(elf, address) for address in found) if all(found) else None


# The function of a type's method, from its array of PyMethodDef; 0: there is none.
def _method(elf: Elf, methods: int, name: bytes) -> int:
    wanted = name + b"\0"
    for place in range(methods, methods + _MAX_METHODS * _METHOD_SIZE, _METHOD_SIZE):
        text = elf.pointer_at(place)
        if not text:
            break
        if elf.read(elf.offset_of(text), len(wanted)) == wanted:
            return elf.pointer_at(place + 8)
    return 0


# The kernel executes what it cannot emulate, as this, step by step: 9 us on a virtual
# machine, instead of 1.
def _entry(elf: Elf, address: int) -> int:
    offset = elf.offset_of(address)
    marked = elf.exactly(offset, len(_ENDBR64)) == _ENDBR64
    return offset + len(_ENDBR64) * marked


def context_places(descriptor: int) -> tuple[int, ...] | None:
    """Return `Interpreter.contexts` of an open file, or None; closes `descriptor`.

    Raises OSError.
    """
    try:
        elf = Elf(descriptor)
    except ValueError:
        return None
    try:
        build = read_interpreter(elf)
        return contexts_of(elf, build) if isinstance(build, bytes) else None
    except MALFORMED:
        return None
    finally:
        elf.close()
