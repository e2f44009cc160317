"""Read `event.h`, the only definition of the wire format, into ctypes structures."""

import ctypes
import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_SCALARS: dict[str, Any] = {
    "char": ctypes.c_char,
    "u8": ctypes.c_uint8,
    "u16": ctypes.c_uint16,
    "u32": ctypes.c_uint32,
    "u64": ctypes.c_uint64,
}
_CODES = dict(zip(_SCALARS.values(), "cBHIQ", strict=True))
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_DEFINE = re.compile(r"^#define\s+(\w+)\s+(\d+)\s*$", re.MULTILINE)
_STRUCT = re.compile(r"struct\s+(\w+)\s*\{(.*?)\};", re.DOTALL)
_FIELD = re.compile(r"(\w+)\s+(\w+)(?:\[(\w+)\])?")


def read_constants(header: str) -> dict[str, int]:
    """Return every `#define NAME NUMBER` in the text `header`."""
    text = _COMMENT.sub("", header)
    return {name: int(value) for name, value in _DEFINE.findall(text)}


def read_structs(header: str) -> "Structs":
    """Return a ctypes structure for every struct in the text `header`, by name."""
    return Structs(header)


class Structs(Mapping[str, type[ctypes.Structure]]):
    """A ctypes structure for every struct of a header, made when it is asked for."""

    def __init__(self, header: str) -> None:
        """Raise ValueError for a field of any other kind than event.h allows."""
        self._fields = _read_fields(header)
        self._made: dict[str, type[ctypes.Structure]] = {}

    def __getitem__(self, name: str) -> type[ctypes.Structure]:
        if name not in self._made:
            fields = [
                (field, scalar * length if length else scalar)
                for field, scalar, length in self._fields[name]
            ]
            made = type(name, (ctypes.Structure,), {"_fields_": fields})
            self._made[name] = made
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


# Of each struct, its fields: name, kind and length (0: no array).
def _read_fields(header: str) -> dict[str, list[tuple[str, Any, int]]]:
    text = _COMMENT.sub("", header)
    sizes = read_constants(header)
    return {
        name: [
            _field(declaration, sizes)
            for declaration in filter(None, map(str.strip, body.split(";")))
        ]
        for name, body in _STRUCT.findall(text)
    }


def _field(declaration: str, sizes: dict[str, int]) -> tuple[str, Any, int]:
    match = _FIELD.fullmatch(declaration)
    if match is None or match.group(1) not in _SCALARS:
        raise ValueError(f"event.h: cannot read field {declaration!r}")
    scalar, name, length = match.groups()
    return name, _SCALARS[scalar], sizes[length] if length else 0


def read_layouts(header: str) -> dict[str, struct.Struct]:
    """Return the layouts of read_structs() as `struct.Struct`, by name.

    They unpack several times faster. Byte arrays are unpacked as bytes, other arrays as
    a value for each element.
    """
    return {
        name: struct.Struct("=" + "".join(map(_format, fields)))
        for name, fields in _read_fields(header).items()
    }


def _format(field: tuple[str, Any, int]) -> str:
    _, scalar, length = field
    code: str = _CODES[scalar]
    if not length:
        return code
    return f"{length}s" if ctypes.sizeof(scalar) == 1 else f"{length}{code}"


def digest(header: str) -> str:
    """Return the text that marks probes as compiled with `header`."""
    return "event.h:" + hashlib.sha256(header.encode()).hexdigest()[:16]


HEADER = (Path(__file__).with_name("programs") / "event.h").read_text()
CONSTANTS = read_constants(HEADER)
STRUCTS = read_structs(HEADER)
LAYOUTS = read_layouts(HEADER)
