"""Read `event.h`, the only definition of the wire format, into ctypes structures."""

import ctypes
import hashlib
import re
import struct
from pathlib import Path
from typing import Any

_SCALARS: dict[str, Any] = {
    "char": ctypes.c_char,
    "u8": ctypes.c_uint8,
    "u16": ctypes.c_uint16,
    "u32": ctypes.c_uint32,
    "u64": ctypes.c_uint64,
}
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_DEFINE = re.compile(r"^#define\s+(\w+)\s+(\d+)\s*$", re.MULTILINE)
_STRUCT = re.compile(r"struct\s+(\w+)\s*\{(.*?)\};", re.DOTALL)
_FIELD = re.compile(r"(\w+)\s+(\w+)(?:\[(\w+)\])?")


def read_constants(header: str) -> dict[str, int]:
    """Return every `#define NAME NUMBER` in the text `header`."""
    text = _COMMENT.sub("", header)
    return {name: int(value) for name, value in _DEFINE.findall(text)}


def read_structs(header: str) -> dict[str, type[ctypes.Structure]]:
    """Return a ctypes structure for every struct in the text `header`, by name.

    Raises ValueError for a field of any other kind than event.h allows.
    """
    text = _COMMENT.sub("", header)
    sizes = read_constants(header)
    return {
        name: type(name, (ctypes.Structure,), {"_fields_": _fields(body, sizes)})
        for name, body in _STRUCT.findall(text)
    }


def _fields(body: str, sizes: dict[str, int]) -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = []
    for declaration in filter(None, map(str.strip, body.split(";"))):
        match = _FIELD.fullmatch(declaration)
        if match is None or match.group(1) not in _SCALARS:
            raise ValueError(f"event.h: cannot read field {declaration!r}")
        scalar, name, length = match.groups()
        ctype = _SCALARS[scalar]
        fields.append((name, ctype * sizes[length] if length else ctype))
    return fields


def read_layouts(header: str) -> dict[str, struct.Struct]:
    """Return the layouts of read_structs() as `struct.Struct`, by name.

    They unpack several times faster. Byte arrays are unpacked as bytes, other arrays as
    a value for each element.
    """
    return {
        name: struct.Struct("=" + "".join(map(_format, structure._fields_)))
        for name, structure in read_structs(header).items()
    }


def _format(field: tuple[str, Any, *tuple[int, ...]]) -> str:
    codes = {"c": "c", "B": "B", "H": "H", "I": "I", "L": "Q", "Q": "Q"}
    ctype = field[1]
    length = getattr(ctype, "_length_", None)
    if length is None:
        return codes[ctype._type_]
    if ctypes.sizeof(ctype) == length:
        return f"{length}s"
    return f"{length}{codes[ctype._type_._type_]}"


def digest(header: str) -> str:
    """Return the text that marks probes as compiled with `header`."""
    return "event.h:" + hashlib.sha256(header.encode()).hexdigest()[:16]


HEADER = (Path(__file__).with_name("programs") / "event.h").read_text()
CONSTANTS = read_constants(HEADER)
STRUCTS = read_structs(HEADER)
LAYOUTS = read_layouts(HEADER)
