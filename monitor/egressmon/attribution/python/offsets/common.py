"""What the versions of CPython share: fixed offsets, and how a file tells its own.

The offsets were read from the versions' own headers, compiled: Include/internal/
pycore_{runtime,interp,frame,debug_offsets}.h, Include/cpython/{pystate,code,
unicodeobject,frameobject}.h. They do not change within a version: they are its binary
interface. Their names are the fields of `struct interpreter` (event.h).
"""

import struct
from collections.abc import Mapping

from egressmon.probes.wire import CONSTANTS
from egressmon.values import dataclass

BYTES = CONSTANTS["INSTRUCTION_BYTES"]
UNITS = CONSTANTS["INSTRUCTION_UNITS"]
POINTER = CONSTANTS["INSTRUCTION_POINTER"]

# The same in all versions that do not describe themselves (3.9 to 3.12).
COMMON: Mapping[str, int] = {
    "thread_next": 8,
    "object_type": 8,
    "type_size": 32,
    "text_length": 16,
    "text_state": 32,
    "text_shift": 2,
    "bytes_size": 16,
    "bytes_data": 32,
    "interpreter_next": 0,
}

# Our names, and where `_Py_DebugOffsets` has them.
_DESCRIBED = {
    "runtime_interpreters": "runtime.interpreters_head",
    "interpreter_next": "interpreter.next",
    "interpreter_threads": "interpreter.threads_head",
    "thread_next": "thread.next",
    "thread_id": "thread.thread_id",
    "thread_frame": "thread.current_frame",
    "frame_previous": "frame.previous",
    "frame_code": "frame.executable",
    "frame_instruction": "frame.instr_ptr",
    "frame_owner": "frame.owner",
    "code_file": "code.filename",
    "code_name": "code.qualname",
    "code_first_line": "code.firstlineno",
    "code_lines": "code.linetable",
    "code_bytes": "code.co_code_adaptive",
    "object_type": "object.ob_type",
    "text_length": "text.length",
    "text_state": "text.state",
    "text_ascii": "text.ascii_size",
    "bytes_size": "bytes.ob_size",
    "bytes_data": "bytes.ob_sval",
}
# Each thread of a free-threaded build may run a copy of the code (since 3.14).
_COPIES = {"frame_copy": "frame.tlbc_index", "code_copies": "code.co_tlbc"}
_COMPACT = "text.compact_size"
_COMPACT_AFTER_ASCII = 16  # where the version does not tell _COMPACT


@dataclass(frozen=True, slots=True)
class DebugOffsets:
    """One version's `struct _Py_DebugOffsets`, and the offsets that it leaves out."""

    members: tuple[tuple[str, str], ...]
    """Its structs in order, behind the version: their names and their fields."""
    left_out: Mapping[str, int]
    left_out_free_threaded: Mapping[str, int]
    """Those that differ in a build without the GIL."""

    def read(self, data: bytes, start: int, *, free_threaded: bool) -> dict[str, int]:
        """Return the offsets that `data` describes from `start` on.

        Raises struct.error where `data` is cut short.
        """
        names = [
            f"{member}.{field}"
            for member, fields in self.members
            for field in fields.split()
        ]
        values = struct.unpack_from(f"<{len(names)}Q", data, start)
        described = dict(zip(names, values, strict=True))
        compact = described["text.ascii_size"] + _COMPACT_AFTER_ASCII
        return {
            **self.left_out,
            **{ours: described[theirs] for ours, theirs in _DESCRIBED.items()},
            **{
                ours: described.get(theirs, 0) if free_threaded else 0
                for ours, theirs in _COPIES.items()
            },
            "text_compact": described.get(_COMPACT, compact),
            **(self.left_out_free_threaded if free_threaded else {}),
        }
