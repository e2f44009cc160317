"""Offsets of CPython 3.11, from the headers of 3.11.7."""

from collections.abc import Mapping

from egressmon.attribution.python.offsets.common import COMMON, POINTER

OFFSETS: Mapping[str, int] = {
    **COMMON,
    "runtime_interpreters": 40,
    "runtime_key": 592,
    "interpreter_threads": 16,
    "thread_id": 152,
    "thread_context": 224,
    "thread_frame": 56,  # the C frame, which has
    "frame_indirect": 9,  # = 1 + 8: the current one
    "frame_previous": 48,
    "frame_code": 32,
    "frame_instruction": 56,
    "instruction_kind": POINTER,
    "code_file": 112,
    "code_name": 128,
    "code_first_line": 72,
    "code_lines": 136,
    "code_bytes": 184,
    "text_ascii": 48,
    "text_compact": 72,
}
