"""Which constant a register holds, as x86-64 instructions follow each other."""

import struct

from egressmon.inspection.instructions import FIRST, SECOND, Instruction

# What writes no general register but its operand; and what writes none at all.
# Compares, tests, pushes, jumps on a condition.
_WRITE_NOTHING = frozenset(
    [
        *b"\x38\x39\x3a\x3b\x3c\x3d\x84\x85\xa8\xa9",
        *range(0x50, 0x58),
        *range(0x70, 0x80),
        0x68,
        0x6A,
        0x90,
    ]
)
_WRITE_RM = frozenset(
    b"\x01\x09\x21\x29\x31\x80\x81\x83\x88\x89\xc0\xc1\xc6\xc7\xd0\xd1\xd2\xd3"
)
_WRITE_REG = frozenset(b"\x03\x0b\x23\x2b\x33\x63\x69\x6b\x8a\x8b\x8d")
_SECOND_WRITE_REG = frozenset([*range(0x40, 0x50), 0xAF, 0xB6, 0xB7, 0xBE, 0xBF])
_VECTOR_MOVES = frozenset(b"\x10\x11\x14\x16\x17\x28\x29\x57\x6c\x6f\x7f\xef\x1e\x1f")


def is_target(one: Instruction, register: int) -> bool:
    """Tell whether the operand of `one` that may be memory is the register itself."""
    modrm = one.modrm
    if modrm is None or modrm < 0xC0:
        return False
    return (modrm & 7 | (one.rex & 1) << 3) == register


def is_named(one: Instruction, register: int) -> bool:
    """Tell whether the other operand of `one` is the register."""
    return ((one.modrm or 0) >> 3 & 7 | (one.rex & 4) << 1) == register


# The register in the opcode's own bits, as of push, pop and mov of a constant.
def _is_in_opcode(one: Instruction, register: int) -> bool:
    return (one.opcode & 7 | (one.rex & 1) << 3) == register


def loads(one: Instruction, register: int) -> bool:
    """Tell whether `one` gives the register a new value: by mov, lea, pop or xor."""
    if one.map != FIRST or one.vector:
        return False
    if one.opcode in {0x8B, 0x8D, 0x63}:
        return is_named(one, register)
    if one.opcode in {0x89, 0xC7, 0x31}:
        return is_target(one, register)
    if 0x58 <= one.opcode <= 0x5F or 0xB8 <= one.opcode <= 0xBF:
        return _is_in_opcode(one, register)
    return False


class Constant:
    """The constant that a register holds, as instructions are followed one by one.

    It is forgotten by whatever could change it and is not known not to.
    """

    def __init__(self, register: int) -> None:
        """`register` is its number: 0 for rax, 7 for rdi."""
        self._register = register
        self.value: int | None = None

    def follow(self, code: bytes, place: int, one: Instruction) -> None:
        """Take note of the instruction `one`, which is at `place` in `code`."""
        mine = self._register
        if one.map == FIRST and 0xB8 <= one.opcode <= 0xBF:
            if _is_in_opcode(one, mine):
                self.value = _last_word(code, place + one.length)
        elif one.map == FIRST and one.opcode == 0xC7 and is_target(one, mine):
            self.value = _last_word(code, place + one.length)
        elif self._is_zeroed(one):
            self.value = 0
        elif not self._keeps(one):
            self.value = None

    def _is_zeroed(self, one: Instruction) -> bool:
        return (
            one.map == FIRST
            and one.opcode in {0x31, 0x33}
            and is_target(one, self._register)
            and is_named(one, self._register)
        )

    def _keeps(self, one: Instruction) -> bool:
        if one.map == FIRST and not one.vector:
            return self._is_kept_by_first(one)
        opcode = one.opcode
        if one.map == SECOND and opcode in _SECOND_WRITE_REG:
            return not is_named(one, self._register)
        is_jump = 0x80 <= opcode < 0x90
        return one.map == SECOND and (opcode in _VECTOR_MOVES or is_jump)

    def _is_kept_by_first(self, one: Instruction) -> bool:
        opcode = one.opcode
        if 0x58 <= opcode <= 0x5F:
            return not _is_in_opcode(one, self._register)
        if opcode in _WRITE_RM:
            return not is_target(one, self._register)
        if opcode in _WRITE_REG:
            return not is_named(one, self._register)
        return opcode in _WRITE_NOTHING


# Of what is cut short there is none.
def _last_word(code: bytes, end: int) -> int | None:
    if not 4 <= end <= len(code):
        return None
    return int(struct.unpack_from("<I", code, end - 4)[0])
