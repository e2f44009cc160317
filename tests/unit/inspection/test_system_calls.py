"""Calls of the kernel are told from other bytes, and for what they are."""

import struct
from pathlib import Path

import pytest

from egressmon.inspection.instructions import NoInstructionError, decode
from egressmon.inspection.registers import Constant
from support.native import ARM64, built, why, written

CALL = """
long call(void) {{
    long result;
    __asm__ volatile ({} : "=a"(result) :: "memory", "rcx");
    return result;
}}
"""


def calling(tmp_path: Path, asm: str) -> list[tuple[str, bool]]:
    source = CALL.format(asm.replace("%", "%%"))
    return why(built(tmp_path / "a.so", source, "-shared", "-nostdlib"))


@pytest.mark.parametrize(
    ("asm", "expected"),
    [
        (r'"mov $42, %eax\n\tsyscall"', [("calls the kernel for connect", True)]),
        (r'"mov $46, %rax\n\tsyscall"', [("calls the kernel for sendmsg", True)]),
        (
            r'"mov $426, %eax\n\txor %edi, %edi\n\tpush %rbx\n\tpop %rbx\n\tsyscall"',
            [("calls the kernel for io_uring_enter", True)],
        ),
        (r'"mov $39, %eax\n\tsyscall"', []),
        (r'"mov $362, %eax\n\tint $0x80"', [("calls the kernel for connect", True)]),
        (r'"mov $42, %eax\n\tint $0x80"', []),  # pipe
        (
            r'"mov $0x4000002a, %eax\n\tsyscall"',
            [("calls the kernel for connect", True)],
        ),
        (r'"xor %eax, %eax\n\tsyscall"', []),
        (
            r'"mov %rdi, %rax\n\tsyscall"',
            [("calls the kernel by itself, for what is not known (1x)", False)],
        ),
        (
            r'"mov $39, %eax\n\tadd $3, %eax\n\tsyscall"',
            [("calls the kernel by itself, for what is not known (1x)", False)],
        ),
        (
            r'"mov $39, %eax\n\tcall 1f\n1:\n\tpop %rcx\n\tsyscall"',
            [("calls the kernel by itself, for what is not known (1x)", False)],
        ),
        # The bytes are inside another instruction: the constant of a mov.
        (r'"mov $0x050f050f, %ecx"', []),
    ],
)
def test_a_call_of_the_kernel_is_named_by_its_number(
    tmp_path: Path, asm: str, expected: list[tuple[str, bool]]
) -> None:
    assert calling(tmp_path, asm) == expected


def test_where_no_function_is_known_bytes_are_a_hint(tmp_path: Path) -> None:
    code = b"\x90\x48\x89\xf8\x0f\x05\xc3"

    assert why(written(tmp_path / "a", code, 62)) == [
        ("has bytes that may be calls of the kernel (1x)", False)
    ]


def test_seven_bytes_with_a_number_are_no_coincidence(tmp_path: Path) -> None:
    connect = b"\xb8\x2a\0\0\0\x0f\x05"
    getpid = b"\xb8\x27\0\0\0\x0f\x05"

    assert why(written(tmp_path / "a", connect, 62)) == [
        ("calls the kernel for connect", True)
    ]
    assert why(written(tmp_path / "b", getpid, 62)) == []


def arm64(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


MOV_X8 = 0xD2800008
MOV_W8 = 0x52800008
SVC = 0xD4000001


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (arm64(MOV_X8 | 203 << 5, SVC), [("calls the kernel for connect", True)]),
        (
            arm64(MOV_W8 | 206 << 5, 0xD2800020, SVC),
            [("calls the kernel for sendto", True)],
        ),
        (arm64(MOV_X8 | 172 << 5, SVC), []),
        (
            arm64(MOV_X8 | 203 << 5, SVC | 7 << 5),
            [("calls the kernel for connect", True)],
        ),
        (
            arm64(0xAA0003E8, SVC),  # mov x8, x0
            [("calls the kernel by itself, for what is not known (1x)", False)],
        ),
        (
            arm64(MOV_X8 | 172 << 5, 0x94000010, SVC),  # a call between
            [("calls the kernel by itself, for what is not known (1x)", False)],
        ),
        (b"\x1f\x20" + arm64(SVC) + b"\x03\xd5", []),  # between two instructions
    ],
)
def test_calls_of_arm64(
    tmp_path: Path, code: bytes, expected: list[tuple[str, bool]]
) -> None:
    # The code begins at 120 in the file, and in memory.
    assert why(written(tmp_path / "a", code, ARM64)) == expected


@pytest.mark.parametrize(
    ("code", "length"),
    [
        ("0f05", 2),
        ("b82a000000", 5),
        ("48b80102030405060708", 10),
        ("66b80102", 4),
        ("488d0512345678", 7),
        ("f30f1efa", 4),
        ("62f17c48100512345678", 10),
        ("c5f877", 3),
        ("c4e37904c001", 6),
        ("f6c101", 3),
        ("f7d8", 2),
        ("f744240801000000", 8),
        ("66f7c10100", 5),
        ("c8100000", 4),
        ("a10102030405060708", 9),
        ("0f8412345678", 6),
        ("660f3a0fc108", 6),
    ],
)
def test_the_length_of_instructions(code: str, length: int) -> None:
    assert decode(bytes.fromhex(code) + bytes(16), 0).length == length


@pytest.mark.parametrize("code", ["06", "ea", "0f", "48", "e8000000", "66" * 20, ""])
def test_what_is_no_instruction_is_an_error(code: str) -> None:
    with pytest.raises(NoInstructionError):
        decode(bytes.fromhex(code), 0)


def test_a_constant_is_forgotten_at_what_may_change_it() -> None:
    code = bytes.fromhex("b82a0000004889d98b03")  # mov; mov rcx, rbx; mov eax, …
    held = Constant(0)
    seen: list[int | None] = []
    place = 0
    while place < len(code):
        one = decode(code + bytes(16), place)
        held.follow(code, place, one)
        seen.append(held.value)
        place += one.length

    assert seen == [42, 42, None]
