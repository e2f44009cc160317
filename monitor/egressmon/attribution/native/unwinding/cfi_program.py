"""The programs of unwind tables: from a function's frame to the row at an address.

Instructions: DWARF 5, 6.4.2 and 7.24, and the two that GNU adds.
"""

from collections.abc import Callable
from typing import TypeAlias

from egressmon.attribution.native.unwinding.cfi_rows import (
    CfiError,
    FrameEntry,
    Row,
    Rule,
)
from egressmon.attribution.native.unwinding.expression import sleb, uleb

_MAX_STEPS = 10_000
_MAX_REMEMBERED = 64
_MAX_EXPRESSION = 1024
_MAX_REGISTER = 128


Location: TypeAlias = Callable[[FrameEntry, int], tuple[int, int]]
"""Takes a frame and a place in its program; returns the address there, and the place
behind it."""

_HIGH, _LOW = 0xC0, 0x3F
_ADVANCE, _OFFSET, _RESTORE = 0x40, 0x80, 0xC0
_ADVANCES = {0x02: 1, 0x03: 2, 0x04: 4}
# nop; arm64: the return address is signed; the same with its place (GCC 15)
_NOTHING = frozenset({0x00, 0x2C, 0x2D})


class FrameProgram:
    """Runs a frame's instructions, up to those for the code behind an address."""

    def __init__(self, frame: FrameEntry, address: int, location: Location) -> None:
        """`location` decodes the address at a place in the program of `frame`."""
        self.row = Row(0, 0, None, {}, frame.common.signal)
        self._frame, self._address, self._read = frame, address, location
        self._code, self._data = frame.common.code_factor, frame.common.data_factor
        self._initial: dict[int, Rule] = {}
        self._remembered: list[Row] = []
        self._program, self._at, self._location = b"", 0, frame.begin

    def run(self) -> Row:
        """Return the row at the address. Raises CfiError, ExpressionError."""
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
        self._location, self._at = self._read(self._frame, self._at)

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


_INSTRUCTIONS: dict[int, Callable[[FrameProgram], None]] = {
    0x01: FrameProgram.set_location,
    0x05: FrameProgram.offset_extended,
    0x06: FrameProgram.restore_extended,
    0x07: FrameProgram.undefined,
    0x08: FrameProgram.same_value,
    0x09: FrameProgram.register,
    0x0A: FrameProgram.remember,
    0x0B: FrameProgram.recall,
    0x0C: FrameProgram.cfa,
    0x0D: FrameProgram.cfa_register,
    0x0E: FrameProgram.cfa_offset,
    0x0F: FrameProgram.cfa_expression,
    0x10: FrameProgram.saved_expression,
    0x11: FrameProgram.offset_extended_signed,
    0x12: FrameProgram.cfa_signed,
    0x13: FrameProgram.cfa_offset_signed,
    0x14: FrameProgram.value_offset,
    0x15: FrameProgram.value_offset_signed,
    0x16: FrameProgram.value_expression,
    0x2E: FrameProgram.arguments_size,
    0x2F: FrameProgram.negative_offset,
}
