"""Small native programs and libraries, compiled or written byte by byte."""

import struct
import subprocess
from pathlib import Path

from egressmon.inspection.findings import Remarks
from egressmon.inspection.program import Program
from egressmon.inspection.programs import Programs

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
ARM64 = 183
SHARED = ("-shared", "-fPIC")


def built(path: Path, source: str, *flags: str) -> Path:
    """Compile C `source` to `path`, by default as a shared library."""
    words = ["gcc", "-O1", "-w", "-x", "c", "-", "-x", "none", "-o", str(path)]
    words += flags or SHARED
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(words, input=source, text=True, check=True, capture_output=True)
    return path


def written(path: Path, code: bytes, machine: int) -> Path:
    """Write an ELF file with nothing but `code`, for a `machine`, to `path`."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    begin = _HEADER.size + _SEGMENT.size
    header = _HEADER.pack(
        ident, 3, machine, 1, 0, _HEADER.size, 0, 0, 64, _SEGMENT.size, 1, 64, 0, 0
    )
    segment = _SEGMENT.pack(1, 5, begin, begin, begin, len(code), len(code), 4096)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + segment + code)
    return path


def inspected_at(path: Path) -> Program:
    """Return what is known of the file at `path`."""
    return Programs([], Remarks()).at(str(path))


def why(path: Path) -> list[tuple[str, bool]]:
    """Return why the file at `path` could open connections, and how sure that is."""
    return [(one.what, one.sure) for one in inspected_at(path).reasons]
