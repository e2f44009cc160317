"""How long each x86-64 instruction is.

After Intel's Software Developer's Manual, volume 2, chapter 2 and appendix A. Only what
64-bit code has is known; what is none is an error.
"""

from typing import NamedTuple

_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")
_INVALID = frozenset(
    b"\x06\x07\x0e\x16\x17\x1e\x1f\x27\x2f\x37\x3f\x60\x61\x82\x9a\xce\xd4\xd5\xd6\xea"
)
_MODRM = frozenset(
    [
        *(row + low for row in range(0, 0x40, 8) for low in range(4)),
        *(0x63, 0x69, 0x6B, *range(0x80, 0x90), 0xC0, 0xC1, 0xC6, 0xC7),
        *(*range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xF6, 0xF7, 0xFE, 0xFF),
    ]
)
_BYTE = frozenset(
    [
        *(row + 4 for row in range(0, 0x40, 8)),
        *(0x6A, 0x6B, *range(0x70, 0x81), 0x83, 0xA8, *range(0xB0, 0xB8), 0xC0),
        *(0xC1, 0xC6, 0xCD, *range(0xE0, 0xE8), 0xEB),
    ]
)
_FULL = frozenset(
    [
        *(row + 5 for row in range(0, 0x40, 8)),
        *(0x68, 0x69, 0x81, 0xA9, *range(0xB8, 0xC0), 0xC7),
    ]
)
# Of the other opcodes of one byte: the bytes of their constants.
_SIZES = {
    **dict.fromkeys(_BYTE, 1),
    0xE8: 4,
    0xE9: 4,
    0xC2: 2,
    0xCA: 2,
    0xC8: 3,
    **dict.fromkeys(range(0xA0, 0xA4), 8),
}
_SECOND_BARE = frozenset(
    [
        *(*range(0x05, 0x0A), 0x0B, 0x0E, *range(0x30, 0x38), 0x77, *range(0x80, 0x90)),
        *(0xA0, 0xA1, 0xA2, 0xA8, 0xA9, 0xAA, *range(0xC8, 0xD0)),
    ]
)
_SECOND_BYTE = frozenset(b"\x0f\x70\x71\x72\x73\xa4\xac\xba\xc2\xc4\xc5\xc6")
FIRST, SECOND, _THIRD_38, _THIRD_3A = 1, 2, 3, 4
"""The maps of opcodes: of one byte, behind 0f, behind 0f 38, and behind 0f 3a."""
_VECTOR_MAPS = {1: SECOND, 2: _THIRD_38, 3: _THIRD_3A, 5: _THIRD_38, 6: _THIRD_38}
LONGEST = 15
"""How many bytes an instruction has at most."""


class NoInstructionError(ValueError):
    """The bytes are no instruction, or one that is not known."""


class Instruction(NamedTuple):
    """An instruction; `map` is 1 for opcodes of one byte, 2 for those behind 0f."""

    length: int
    map: int
    opcode: int
    modrm: int | None
    rex: int
    vector: bool
    """Whether it has the prefix VEX or EVEX."""

    @property
    def is_system_call(self) -> bool:
        """Whether it is `syscall`."""
        return self.map == SECOND and self.opcode == 0x05 and not self.vector

    @property
    def is_interrupt(self) -> bool:
        """Whether it is `int`, whose number is its last byte."""
        return self.map == FIRST and self.opcode == 0xCD


def decode(code: bytes, place: int) -> Instruction:
    """Return the instruction at `place` in `code`. Raises NoInstructionError."""
    try:
        found = _decoded(code, place)
    except IndexError as error:
        raise NoInstructionError("it is cut short") from error
    if found.length > LONGEST or place + found.length > len(code):
        raise NoInstructionError("too long")
    return found


def _decoded(code: bytes, start: int) -> Instruction:
    place, short = start, False
    while code[place] in _PREFIXES:
        short |= code[place] == 0x66
        place += 1
    rex = 0
    if code[place] & 0xF0 == 0x40:
        rex = code[place]
        place += 1
    opcode = code[place]
    if opcode in {0xC4, 0xC5, 0x62} and not rex:
        return _vector(code, start, place)
    if opcode == 0x8F and code[place + 1] & 0x1F >= 8:
        raise NoInstructionError("AMD's XOP, which no processor has any more")
    place += 1
    kind = FIRST
    if opcode == 0x0F:
        kind, opcode, place = _escaped(code, place)
    elif opcode in _INVALID:
        raise NoInstructionError(f"{opcode:#x}")
    return _measured(code, (start, place), (kind, opcode), rex, short=short)


def _escaped(code: bytes, place: int) -> tuple[int, int, int]:
    opcode = code[place]
    if opcode == 0x38:
        return _THIRD_38, code[place + 1], place + 2
    if opcode == 0x3A:
        return _THIRD_3A, code[place + 1], place + 2
    return SECOND, opcode, place + 1


def _measured(
    code: bytes,
    places: tuple[int, int],
    what: tuple[int, int],
    rex: int,
    *,
    short: bool,
) -> Instruction:
    (start, place), (kind, opcode) = places, what
    modrm = None
    if _HAVE_MODRM[kind][opcode]:
        modrm = code[place]
        place = _after_operand(code, place)
    if kind == FIRST and opcode in _BY_PREFIX:
        place += _by_prefix(opcode, modrm, rex, short=short)
    else:
        place += _CONSTANTS[kind][opcode]
    return Instruction(place - start, kind, opcode, modrm, rex, vector=False)


# VEX of two and of three bytes, and EVEX; their bits say in which table the opcode is.
def _vector(code: bytes, start: int, place: int) -> Instruction:
    first = code[place]
    if first == 0xC5:
        kind, place = SECOND, place + 2
    else:
        wide = first == 0x62
        selected = code[place + 1] & (0x07 if wide else 0x1F)
        if selected not in _VECTOR_MAPS:
            raise NoInstructionError(f"table {selected}")
        kind, place = _VECTOR_MAPS[selected], place + (4 if wide else 3)
    opcode = code[place]
    place += 1
    modrm = None
    if kind != SECOND or opcode != 0x77:
        modrm = code[place]
        place = _after_operand(code, place)
    if kind == _THIRD_3A or (kind == SECOND and opcode in _SECOND_BYTE):
        place += 1
    return Instruction(place - start, kind, opcode, modrm, 0, vector=True)


def _after_operand(code: bytes, place: int) -> int:
    modrm = code[place]
    # A base without a register (SIB) is 32 bits more.
    if modrm & 0xC7 == 0x04 and code[place + 1] & 7 == 5:
        return place + 6
    return place + _OPERANDS[modrm]


# The constant is of 16 bits behind 66, of 64 for a mov to the whole register, and there
# at all in the group f6, f7 for a test alone.
def _by_prefix(opcode: int, modrm: int | None, rex: int, *, short: bool) -> int:
    if 0xB8 <= opcode <= 0xBF and rex & 8:
        return 8
    if opcode in {0xF6, 0xF7} and (modrm or 0) & 0x38 >= 0x10:
        return 0
    if opcode == 0xF6:
        return 1
    return 2 if short and not rex & 8 else 4


# The bytes of the operand in memory or a register, from its first byte on (modrm).
def _operand(modrm: int) -> int:
    mode, low = modrm >> 6, modrm & 7
    if mode == 3:
        return 1
    far = 4 if mode == 0 and low == 5 else 0
    return 1 + (low == 4) + far + (0, 1, 4)[mode]


_OPERANDS = bytes(map(_operand, range(256)))
# By map and opcode: whether there is an operand, and the bytes of the constant.
_HAVE_MODRM = (
    b"",
    bytes(opcode in _MODRM for opcode in range(256)),
    bytes(opcode not in _SECOND_BARE for opcode in range(256)),
    b"\1" * 256,
    b"\1" * 256,
)
_CONSTANTS = (
    b"",
    bytes(_SIZES.get(opcode, 0) for opcode in range(256)),
    bytes(
        4 if 0x80 <= opcode < 0x90 else opcode in _SECOND_BYTE for opcode in range(256)
    ),
    bytes(256),
    b"\1" * 256,
)
_BY_PREFIX = _FULL | {0xF6, 0xF7}
