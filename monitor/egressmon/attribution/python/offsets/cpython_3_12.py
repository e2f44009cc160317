"""Offsets of CPython 3.12, from the headers of 3.12.1."""

from collections.abc import Mapping

from egressmon.attribution.python.offsets.common import COMMON, POINTER

OFFSETS: Mapping[str, int] = {
    **COMMON,
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
    "instruction_kind": POINTER,
    "code_file": 112,
    "code_name": 128,
    "code_first_line": 68,
    "code_lines": 136,
    "code_bytes": 192,
    "code_version": 92,
    "text_ascii": 40,
    "text_compact": 56,
}
