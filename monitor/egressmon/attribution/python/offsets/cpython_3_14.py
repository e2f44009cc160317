"""Offsets of CPython 3.14: pycore_debug_offsets.h, and what it lacks (3.14.10)."""

from egressmon.attribution.python.offsets.common import POINTER, DebugOffsets

DEBUG_OFFSETS = DebugOffsets(
    members=(
        ("runtime", "size finalizing interpreters_head"),
        (
            "interpreter",
            (
                "size id next threads_head threads_main gc imports_modules "
                "sysdict builtins ceval_gil gil_runtime_state gil_enabled gil_locked "
                "gil_holder code_object_generation tlbc_generation"
            ),
        ),
        (
            "thread",
            (
                "size prev next interp current_frame thread_id native_thread_id "
                "datastack_chunk status"
            ),
        ),
        (
            "frame",
            (
                "size previous executable instr_ptr localsplus owner stackpointer "
                "tlbc_index"
            ),
        ),
        (
            "code",
            (
                "size filename name qualname linetable firstlineno argcount "
                "localsplusnames localspluskinds co_code_adaptive co_tlbc"
            ),
        ),
        ("object", "size ob_type"),
        ("type", "size tp_name tp_repr tp_flags"),
        ("tuple", "size ob_item ob_size"),
        ("list", "size ob_item ob_size"),
        ("set", "size used table mask"),
        ("dict", "size ma_keys ma_values"),
        ("float", "size ob_fval"),
        ("long", "size lv_tag ob_digit"),
        ("bytes", "size ob_size ob_sval"),
        ("text", "size state length ascii_size"),
    ),
    left_out={
        "runtime_key": 2336,
        "thread_context": 208,
        "owner_shim": 3,
        "instruction_kind": POINTER,
        "code_version": 92,
        "type_size": 32,
        "text_shift": 2,
    },
    # An object's header is 16 bytes longer, and the state of a str another.
    left_out_free_threaded={
        "code_version": 92 + 16,
        "type_size": 32 + 16,
        "text_shift": 8,
    },
)
