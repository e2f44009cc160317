"""Offsets of CPython 3.9, from the headers of 3.9.18: frames are objects."""

from collections.abc import Mapping

from egressmon.attribution.python.offsets.common import BYTES, COMMON

OFFSETS: Mapping[str, int] = {
    **COMMON,
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
    "frame_instruction": 104,
    "instruction_kind": BYTES,
}
