"""Where each version of CPython keeps what a walk along its frames reads.

From 3.13 on, an interpreter's file says most of it itself (`_Py_DebugOffsets`,
Include/internal/pycore_debug_offsets.h); the rest, and all for older versions, was
read from the versions' own headers, compiled: Include/internal/pycore_{runtime,
interp,frame}.h, Include/cpython/{pystate,code,unicodeobject,frameobject}.h of
3.9.18, 3.10.13, 3.11.7, 3.12.1, 3.13.0, 3.14.10 and 3.15.2. They do not change
within a version: they are its binary interface.
"""

import struct
from collections.abc import Mapping

from egressmon.probes.wire import CONSTANTS

_COOKIE = b"xdebugpy"
DEBUG_OFFSETS_SIZE = 1024

_BYTES = CONSTANTS["INSTRUCTION_BYTES"]
_UNITS = CONSTANTS["INSTRUCTION_UNITS"]
_POINTER = CONSTANTS["INSTRUCTION_POINTER"]

_COMMON = {
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
_FRAME_OBJECTS = {
    **_COMMON,
    "runtime_interpreters": 32,
    "runtime_key": 584,
    "interpreter_threads": 8,
    "thread_id": 176,
    "thread_context": 240,
    "thread_frame": 24,
    "frame_previous": 24,
    "frame_code": 32,
    "code_file": 104,
    "code_name": 112,  # co_name: there is no co_qualname
    "code_first_line": 40,
    "code_lines": 120,
    "text_ascii": 48,
    "text_compact": 72,
}
TABLE: Mapping[int, Mapping[str, int]] = {
    9: {**_FRAME_OBJECTS, "frame_instruction": 104, "instruction_kind": _BYTES},
    10: {**_FRAME_OBJECTS, "frame_instruction": 96, "instruction_kind": _UNITS},
    11: {
        **_COMMON,
        "runtime_interpreters": 40,
        "runtime_key": 592,
        "interpreter_threads": 16,
        "thread_id": 152,
        "thread_context": 224,
        "thread_frame": 56,  # the C frame, which has
        "frame_indirect": 1 + 8,  # the current one
        "frame_previous": 48,
        "frame_code": 32,
        "frame_instruction": 56,
        "instruction_kind": _POINTER,
        "code_file": 112,
        "code_name": 128,
        "code_first_line": 72,
        "code_lines": 136,
        "code_bytes": 184,
        "text_ascii": 48,
        "text_compact": 72,
    },
    12: {
        **_COMMON,
        "runtime_interpreters": 40,
        "runtime_key": 1544,
        "interpreter_threads": 72,
        "thread_id": 136,
        "thread_context": 208,
        "thread_frame": 56,
        "frame_indirect": 1,
        "frame_previous": 8,
        "frame_code": 0,
        "frame_instruction": 56,
        "frame_owner": 70,
        "owner_shim": 3,
        "instruction_kind": _POINTER,
        "code_file": 112,
        "code_name": 128,
        "code_first_line": 68,
        "code_lines": 136,
        "code_bytes": 192,
        "code_version": 92,
        "text_ascii": 40,
        "text_compact": 56,
    },
}

# What _Py_DebugOffsets leaves out, by version; a free-threaded build's objects have
# a header that is 16 bytes longer, and its str another state since 3.14.
_UNTOLD: Mapping[int, Mapping[str, int]] = {
    13: {"runtime_key": 2160, "thread_context": 208},
    14: {"runtime_key": 2336, "thread_context": 208},
    15: {"thread_context": 232},
}
_LONGER_HEADER = 16

_INTERPRETER = "size id next threads_head"
_MODULES = "gc imports_modules sysdict builtins ceval_gil"
_GIL = "gil_runtime_state gil_enabled gil_locked gil_holder"
_GENERATIONS = "code_object_generation tlbc_generation"
_THREADS = "size prev next interp current_frame"
_PROFILED = "base_frame last_profiled_frame last_profiled_frame_seq"
_THREADS_END = "thread_id native_thread_id datastack_chunk status"
_EXCEPTIONS = "holds_gil gil_requested current_exception exc_state"
_CODE = (
    "size filename name qualname linetable firstlineno argcount localsplusnames "
    "localspluskinds co_code_adaptive"
)
_FIELDS_13 = (
    "size finalizing interpreters_head",
    f"{_INTERPRETER} {_MODULES} {_GIL}",
    f"{_THREADS} {_THREADS_END}",
    "size previous executable instr_ptr localsplus owner",
    _CODE,
)
_FIELDS_14 = (
    _FIELDS_13[0],
    f"{_INTERPRETER} threads_main {_MODULES} {_GIL} {_GENERATIONS}",
    _FIELDS_13[2],
    f"{_FIELDS_13[3]} stackpointer tlbc_index",
    f"{_FIELDS_13[4]} co_tlbc",
)
_FIELDS_15 = (
    *_FIELDS_14[:2],
    f"{_THREADS} {_PROFILED} {_THREADS_END} {_EXCEPTIONS}",
    *_FIELDS_14[3:],
)
_TYPES_13 = "size tp_name tp_repr tp_flags"
# What follows the code object's: object, type, ..., bytes, str.
_REST_13 = (
    ("object", "size ob_type"),
    ("type", _TYPES_13),
    ("tuple", "size ob_item ob_size"),
    ("list", "size ob_item ob_size"),
    ("dict", "size ma_keys ma_values"),
    ("float", "size ob_fval"),
    ("long", "size lv_tag ob_digit"),
    ("bytes", "size ob_size ob_sval"),
    ("text", "size state length ascii_size"),
)
_SET = ("set", "size used table mask")
_REST_14 = (*_REST_13[:4], _SET, *_REST_13[4:])
_REST_15 = (
    _REST_13[0],
    ("type", f"{_TYPES_13} tp_basicsize tp_dictoffset"),
    ("heap_type", "size cached_keys"),
    *_REST_14[2:-1],
    ("text", "size state length ascii_size compact_size"),
)
_LAYOUTS = {
    13: (_FIELDS_13, _REST_13),
    14: (_FIELDS_14, _REST_14),
    15: (_FIELDS_15, _REST_15),
}
_ROOMS: tuple[str, ...] = ("runtime", "interpreter", "thread", "frame", "code")


def read_debug_offsets(data: bytes) -> tuple[int, dict[str, int]] | None:
    """Return the minor version and offsets that begin _PyRuntime's data.

    None: they are not there, as in versions before 3.13. The offsets are empty for a
    version that is not known. Raises ValueError where they are cut short.
    """
    if not data.startswith(_COOKIE):
        return None
    try:
        version, free_threaded = struct.unpack_from("<QQ", data, 8)
        minor = version >> 16 & 0xFF
        if minor not in _LAYOUTS:
            return minor, {}
        names = list(_names(minor))
        values = struct.unpack_from(f"<{len(names)}Q", data, 24)
    except struct.error as error:
        raise ValueError("the interpreter's debug offsets are cut short") from error
    told = dict(zip(names, values, strict=True))
    return minor, _offsets(minor, told, free_threaded=bool(free_threaded))


def _names(minor: int) -> list[str]:
    fields, rest = _LAYOUTS[minor]
    rooms: list[tuple[str, str]] = list(zip(_ROOMS, fields, strict=True))
    if minor >= 15:  # between the thread's and the frame's
        rooms.insert(3, ("error_stack", "exc_value"))
    return [
        f"{room}.{name}" for room, names in (*rooms, *rest) for name in names.split()
    ]


def _offsets(
    minor: int, told: Mapping[str, int], *, free_threaded: bool
) -> dict[str, int]:
    longer = _LONGER_HEADER if free_threaded else 0
    ascii_size = told["text.ascii_size"]
    return {
        **_UNTOLD[minor],
        "runtime_interpreters": told["runtime.interpreters_head"],
        "interpreter_next": told["interpreter.next"],
        "interpreter_threads": told["interpreter.threads_head"],
        "thread_next": told["thread.next"],
        "thread_id": told["thread.thread_id"],
        "thread_frame": told["thread.current_frame"],
        "frame_previous": told["frame.previous"],
        "frame_code": told["frame.executable"],
        "frame_instruction": told["frame.instr_ptr"],
        "frame_owner": told["frame.owner"],
        "frame_copy": told.get("frame.tlbc_index", 0) if free_threaded else 0,
        "owner_shim": 3,
        "instruction_kind": _POINTER,
        "code_file": told["code.filename"],
        "code_name": told["code.qualname"],
        "code_first_line": told["code.firstlineno"],
        "code_lines": told["code.linetable"],
        "code_bytes": told["code.co_code_adaptive"],
        "code_copies": told.get("code.co_tlbc", 0) if free_threaded else 0,
        "code_version": 92 + longer,
        "object_type": told["object.ob_type"],
        "type_size": 32 + longer,
        "text_length": told["text.length"],
        "text_state": told["text.state"],
        "text_shift": 8 if free_threaded and minor >= 14 else 2,
        "text_ascii": ascii_size,
        "text_compact": told.get("text.compact_size", ascii_size + 16),
        "bytes_size": told["bytes.ob_size"],
        "bytes_data": told["bytes.ob_sval"],
    }
