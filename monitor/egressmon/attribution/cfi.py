"""Call frame information: how to get from one frame of a program to its caller's.

Format: LSB Core, "Exception Frames" (.eh_frame, .eh_frame_hdr), and DWARF 5, 6.4.
"""

import bisect
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from egressmon.attribution.elf import Elf, ElfError
from egressmon.attribution.expression import ExpressionError, sleb, uleb

RuleKind: TypeAlias = Literal[
    "saved", "offset", "register", "saved-expression", "expression", "same", "undefined"
]
Rule: TypeAlias = tuple[RuleKind, int | bytes]

_MASK = (1 << 64) - 1
_MAX_ENTRY = 1 << 16
_MAX_STEPS = 10_000
_MAX_REMEMBERED = 64
_MAX_ROWS = 1 << 16
_MAX_COMMON = 4096
_MAX_ENTRIES = 1 << 20
_MAX_EXPRESSION = 1024
_MAX_REGISTER = 128

_OMITTED, _INDIRECT, _FORMAT, _APPLICATION = 0xFF, 0x80, 0x0F, 0x70
_RELATIVE, _DATA_RELATIVE = 0x10, 0x30
_SORTED_TABLE = 0x3B  # sdata4, relative to the header: what linkers write
_NUMBERS = {
    0x00: struct.Struct("<Q"),
    0x02: struct.Struct("<H"),
    0x03: struct.Struct("<I"),
    0x04: struct.Struct("<Q"),
    0x0A: struct.Struct("<h"),
    0x0B: struct.Struct("<i"),
    0x0C: struct.Struct("<q"),
}
_ULEB, _SLEB = 0x01, 0x09
_PAIR = struct.Struct("<ii")


class CfiError(ValueError):
    """The tables are damaged, or say what no compiler writes."""


@dataclass(slots=True)
class Row:
    """How to undo one frame: where it ends (CFA), and what was saved in it."""

    register: int
    """The register that the CFA is reckoned from, where there is no expression."""
    offset: int
    expression: bytes | None
    rules: dict[int, Rule]
    signal: bool = False
    """A signal handler's: the caller was interrupted, and called nobody."""

    plain: tuple[tuple[int, int], ...] | None = None
    """The rules, where each is "saved" at an offset and nothing else is needed."""

    def copy(self) -> "Row":
        """Return a row of its own with the same content."""
        return Row(
            self.register, self.offset, self.expression, dict(self.rules), self.signal
        )


@dataclass(frozen=True, slots=True)
class _Common:
    code_factor: int
    data_factor: int
    return_register: int
    encoding: int
    signal: bool
    augmented: bool
    program: bytes


@dataclass(frozen=True, slots=True)
class _Frame:
    begin: int
    end: int
    program: bytes
    place: int
    """The address of the program's first byte."""
    common: _Common


class FrameTable:
    """The frames of one file; rows are remembered by address."""

    def __init__(self, elf: Elf) -> None:
        """Read where elf's tables are; a file without any has no rows."""
        self._elf = elf
        self._common: dict[int, _Common] = {}
        self._rows: dict[int, tuple[Row, int] | None] = {}
        self._entries: list[tuple[int, int]] | None = None
        self._table = 0
        self._count = 0
        self._base = 0
        try:
            self._read_header()
        except (ElfError, CfiError, struct.error):
            self._count = 0

    def _read_header(self) -> None:
        header = self._elf.frame_header
        if header is None:
            return
        data = self._elf.exactly(header.offset, 4)
        version, pointer, count, table = data
        if version != 1 or table != _SORTED_TABLE:
            return
        place = header.offset + 4
        _, place = self._pointer(pointer, place, header.address)
        number, place = self._pointer(count, place, header.address)
        self._table, self._base = place, header.address
        self._count = min(number, max(0, self._elf.file_size - place) // _PAIR.size)

    def row(self, address: int) -> tuple[Row, int] | None:
        """Return the row at address, with the register that holds the return address.

        None: the tables say nothing of it. Raises CfiError where they are damaged.
        """
        try:
            return self._rows[address]
        except KeyError:
            pass
        try:
            found = self._find(address)
        except (ElfError, ExpressionError, struct.error, IndexError) as error:
            raise CfiError(str(error)) from error
        if len(self._rows) >= _MAX_ROWS:
            self._rows.clear()
        self._rows[address] = found
        return found

    def _find(self, address: int) -> tuple[Row, int] | None:
        place = self._search(address) if self._count else self._search_all(address)
        if place is None:
            return None
        frame = self._frame(place)
        if not frame.begin <= address < frame.end:
            return None
        row = _Machine(frame, address, self).run()
        row.plain = _plain(row, frame.common.return_register)
        return row, frame.common.return_register

    # The binary search table: (function, its frame), both from the header's address.
    def _search(self, address: int) -> int | None:
        low, high, wanted = 0, self._count, address - self._base
        found = 0
        while low < high:
            middle = (low + high) // 2
            begin, frame = _PAIR.unpack(
                self._elf.exactly(self._table + middle * _PAIR.size, _PAIR.size)
            )
            if begin <= wanted:
                low, found = middle + 1, frame
            else:
                high = middle
        return self._elf.offset_of(found + self._base & _MASK) if low else None

    # Static programs have no such table: their frames are read one by one, once.
    def _search_all(self, address: int) -> int | None:
        if self._entries is None:
            self._entries = sorted(self._walk())
        index = bisect.bisect_right(self._entries, (address, _MASK)) - 1
        return self._entries[index][1] if index >= 0 else None

    def _walk(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        section = self._elf.section(b".eh_frame")
        if section is None:
            return found
        place, size = section
        end = min(place + size, self._elf.file_size)
        while place + 8 <= end and len(found) < _MAX_ENTRIES:
            length, common = struct.unpack("<II", self._elf.exactly(place, 8))
            if not length or length > _MAX_ENTRY:
                break
            if common:
                found.append((self._frame(place).begin, place))
            place += 4 + length
        return found

    def _entry(self, place: int) -> bytes:
        length = int.from_bytes(self._elf.exactly(place, 4), "little")
        if not 4 <= length <= _MAX_ENTRY:
            raise CfiError(f"an entry of {length} bytes")
        return self._elf.exactly(place + 4, length)

    def _frame(self, place: int) -> _Frame:
        data = self._entry(place)
        back = int.from_bytes(data[:4], "little")
        common = self._common_at(place + 4 - back)
        begin, after = self._pointer(common.encoding, place + 8)
        size, after = self._pointer(common.encoding & _FORMAT, after)
        at = after - place - 4
        if common.augmented:
            length, at = uleb(data, at)
            at += length
        program = self._elf.address_of(place + 4) + at
        return _Frame(begin, begin + size, data[at:], program, common)

    def _common_at(self, place: int) -> _Common:
        known = self._common.get(place)
        if known is None:
            if len(self._common) >= _MAX_COMMON:
                self._common.clear()
            known = self._common[place] = self._read_common(place)
        return known

    def _read_common(self, place: int) -> _Common:
        data = self._entry(place)
        if data[:4] != bytes(4):
            raise CfiError("a frame without its common entry")
        version = data[4]
        end = data.index(0, 5) if 0 in data[5:] else len(data)
        augmentation, at = data[5:end], end + 1
        if version >= 4:
            at += 2
        code, at = uleb(data, at)
        factor, at = sleb(data, at)
        if version == 1:
            register, at = data[at], at + 1
        else:
            register, at = uleb(data, at)
        encoding, signal = 0, b"S" in augmentation
        program = at
        if augmentation.startswith(b"z"):
            length, at = uleb(data, at)
            program = at + length
            for letter in augmentation[1:]:
                if letter == ord("R"):
                    encoding, at = data[at], at + 1
                elif letter == ord("P"):
                    form = data[at]
                    _, after = self._pointer(form & ~_INDIRECT, place + 4 + at + 1)
                    at = after - place - 4
                elif letter == ord("L"):
                    at += 1
        return _Common(
            code, factor, register, encoding, signal, bool(augmentation), data[program:]
        )

    def _pointer(self, encoding: int, place: int, base: int = 0) -> tuple[int, int]:
        if encoding == _OMITTED:
            return 0, place
        data = self._elf.read(place, 10)
        form = encoding & _FORMAT
        if form in {_ULEB, _SLEB}:
            value, size = (uleb if form == _ULEB else sleb)(data, 0)
        elif form in _NUMBERS:
            number = _NUMBERS[form]
            value, size = number.unpack_from(data)[0], number.size
        else:
            raise CfiError(f"a pointer encoded as {encoding:#x}")
        application = encoding & _APPLICATION
        if application == _RELATIVE:
            value += self._elf.address_of(place)
        elif application == _DATA_RELATIVE:
            value += base
        elif application:
            raise CfiError(f"a pointer encoded as {encoding:#x}")
        return value & _MASK, place + size

    def location(self, frame: _Frame, at: int) -> tuple[int, int]:
        """Return the address at a place of frame's program, and the place behind it."""
        offset = self._elf.offset_of(frame.place + at)
        value, after = self._pointer(frame.common.encoding, offset)
        return value, at + after - offset


# Nearly all rows are: the return address and a few registers, saved near the CFA.
def _plain(row: Row, return_register: int) -> tuple[tuple[int, int], ...] | None:
    if row.expression is not None or row.signal or return_register not in row.rules:
        return None
    found: list[tuple[int, int]] = []
    for register, (kind, value) in row.rules.items():
        if kind != "saved" or not isinstance(value, int):
            return None
        found.append((register, value))
    return tuple(found)


_HIGH, _LOW = 0xC0, 0x3F
_ADVANCE, _OFFSET, _RESTORE = 0x40, 0x80, 0xC0
_ADVANCES = {0x02: 1, 0x03: 2, 0x04: 4}
_NOTHING = frozenset({0x00, 0x2D})  # nop; arm64: the return address is signed


class _Machine:
    """Runs a frame's instructions up to those that lie behind an address."""

    def __init__(self, frame: _Frame, address: int, table: FrameTable) -> None:
        self.row = Row(0, 0, None, {}, frame.common.signal)
        self._frame, self._address, self._table = frame, address, table
        self._code, self._data = frame.common.code_factor, frame.common.data_factor
        self._initial: dict[int, Rule] = {}
        self._remembered: list[Row] = []
        self._program, self._at, self._location = b"", 0, frame.begin

    def run(self) -> Row:
        self._execute(self._frame.common.program)
        self._initial = dict(self.row.rules)
        self._location = self._frame.begin
        self._execute(self._frame.program)
        return self.row

    def _execute(self, program: bytes) -> None:
        self._program, self._at = program, 0
        for _ in range(_MAX_STEPS):
            if self._at >= len(program) or self._location > self._address:
                return
            operation = program[self._at]
            self._at += 1
            self._step(operation, operation & _LOW)
        raise CfiError("an endless program")

    def _step(self, operation: int, low: int) -> None:
        high = operation & _HIGH
        if high == _ADVANCE:
            self._location += low * self._code
        elif high == _OFFSET:
            self._set(low, ("saved", self._uleb() * self._data))
        elif high == _RESTORE:
            self._restore(low)
        elif operation in _ADVANCES:
            end = self._at + _ADVANCES[operation]
            step = int.from_bytes(self._program[self._at : end], "little")
            self._location += step * self._code
            self._at = end
        elif operation in _INSTRUCTIONS:
            _INSTRUCTIONS[operation](self)
        elif operation not in _NOTHING:
            raise CfiError(f"instruction {operation:#x}")

    def _uleb(self) -> int:
        value, self._at = uleb(self._program, self._at)
        return value

    def _sleb(self) -> int:
        value, self._at = sleb(self._program, self._at)
        return value

    def _block(self) -> bytes:
        size = self._uleb()
        if size > _MAX_EXPRESSION:
            raise CfiError(f"an expression of {size} bytes")
        self._at += size
        return self._program[self._at - size : self._at]

    def _set(self, register: int, rule: Rule) -> None:
        if register > _MAX_REGISTER:
            raise CfiError(f"register {register}")
        self.row.rules[register] = rule

    def _restore(self, register: int) -> None:
        if register in self._initial:
            self.row.rules[register] = self._initial[register]
        else:
            self.row.rules.pop(register, None)

    def set_location(self) -> None:
        self._location, self._at = self._table.location(self._frame, self._at)

    def offset_extended(self) -> None:
        self._set(self._uleb(), ("saved", self._uleb() * self._data))

    def offset_extended_signed(self) -> None:
        self._set(self._uleb(), ("saved", self._sleb() * self._data))

    def negative_offset(self) -> None:
        self._set(self._uleb(), ("saved", -self._uleb() * self._data))

    def restore_extended(self) -> None:
        self._restore(self._uleb())

    def undefined(self) -> None:
        self._set(self._uleb(), ("undefined", 0))

    def same_value(self) -> None:
        self._set(self._uleb(), ("same", 0))

    def register(self) -> None:
        self._set(self._uleb(), ("register", self._uleb()))

    def remember(self) -> None:
        if len(self._remembered) >= _MAX_REMEMBERED:
            raise CfiError("an endless program")
        self._remembered.append(self.row.copy())

    def recall(self) -> None:
        if not self._remembered:
            raise CfiError("nothing was remembered")
        self.row = self._remembered.pop()

    def cfa(self) -> None:
        self.row.register, self.row.offset = self._uleb(), self._uleb()
        self.row.expression = None

    def cfa_signed(self) -> None:
        self.row.register = self._uleb()
        self.row.offset = self._sleb() * self._data
        self.row.expression = None

    def cfa_register(self) -> None:
        self.row.register, self.row.expression = self._uleb(), None

    def cfa_offset(self) -> None:
        self.row.offset = self._uleb()

    def cfa_offset_signed(self) -> None:
        self.row.offset = self._sleb() * self._data

    def cfa_expression(self) -> None:
        self.row.expression = self._block()

    def saved_expression(self) -> None:
        self._set(self._uleb(), ("saved-expression", self._block()))

    def value_expression(self) -> None:
        self._set(self._uleb(), ("expression", self._block()))

    def value_offset(self) -> None:
        self._set(self._uleb(), ("offset", self._uleb() * self._data))

    def value_offset_signed(self) -> None:
        self._set(self._uleb(), ("offset", self._sleb() * self._data))

    def arguments_size(self) -> None:
        self._uleb()


# DWARF 5, 7.24; the last two are GNU's.
_INSTRUCTIONS: dict[int, Callable[[_Machine], None]] = {
    0x01: _Machine.set_location,
    0x05: _Machine.offset_extended,
    0x06: _Machine.restore_extended,
    0x07: _Machine.undefined,
    0x08: _Machine.same_value,
    0x09: _Machine.register,
    0x0A: _Machine.remember,
    0x0B: _Machine.recall,
    0x0C: _Machine.cfa,
    0x0D: _Machine.cfa_register,
    0x0E: _Machine.cfa_offset,
    0x0F: _Machine.cfa_expression,
    0x10: _Machine.saved_expression,
    0x11: _Machine.offset_extended_signed,
    0x12: _Machine.cfa_signed,
    0x13: _Machine.cfa_offset_signed,
    0x14: _Machine.value_offset,
    0x15: _Machine.value_offset_signed,
    0x16: _Machine.value_expression,
    0x2E: _Machine.arguments_size,
    0x2F: _Machine.negative_offset,
}
