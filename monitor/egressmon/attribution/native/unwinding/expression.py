"""DWARF expressions, as far as call frame information uses them (DWARF 5, 2.5)."""

import struct
from collections.abc import Callable, Mapping

_MAX_STEPS = 1000
_MAX_DEPTH = 64
_MASK = (1 << 64) - 1
_HALF = 1 << 63

_ADDR, _DEREF, _BRA, _SKIP, _NOP = 0x03, 0x06, 0x28, 0x2F, 0x96
_PLUS_UCONST, _CONSTU, _CONSTS = 0x23, 0x10, 0x11
_LIT0, _REG0, _BREG0, _AFTER_BREG = 0x30, 0x50, 0x70, 0x90
_CONSTANTS = {
    0x08: struct.Struct("<B"),
    0x09: struct.Struct("<b"),
    0x0A: struct.Struct("<H"),
    0x0B: struct.Struct("<h"),
    0x0C: struct.Struct("<I"),
    0x0D: struct.Struct("<i"),
    0x0E: struct.Struct("<Q"),
    0x0F: struct.Struct("<q"),
    _ADDR: struct.Struct("<Q"),
}
_UNARY: dict[int, Callable[[int], int]] = {
    0x19: lambda a: abs(_signed(a)),
    0x1F: lambda a: -a,
    0x20: lambda a: ~a,
}
_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1C: lambda a, b: a - b,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << b if b < 64 else 0,
    0x25: lambda a, b: a >> b if b < 64 else 0,
    0x26: lambda a, b: _signed(a) >> min(b, 63),
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: int(a == b),
    0x2A: lambda a, b: int(_signed(a) >= _signed(b)),
    0x2B: lambda a, b: int(_signed(a) > _signed(b)),
    0x2C: lambda a, b: int(_signed(a) <= _signed(b)),
    0x2D: lambda a, b: int(_signed(a) < _signed(b)),
    0x2E: lambda a, b: int(a != b),
}


class ExpressionError(ValueError):
    """The expression is damaged, endless, or uses what unwind tables never use."""


def uleb(data: bytes, place: int) -> tuple[int, int]:
    """Return the unsigned LEB128 number at `place`, and the place behind it.

    Raises ExpressionError.
    """
    result = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        place += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return result, place
    raise ExpressionError("an endless number")


def sleb(data: bytes, place: int) -> tuple[int, int]:
    """Return the signed LEB128 number at `place`, and the place behind it.

    Raises ExpressionError.
    """
    value, end = uleb(data, place)
    if data[end - 1] & 0x40:
        value -= 1 << 7 * (end - place)
    return value, end


def _signed(value: int) -> int:
    return value - (1 << 64) if value & _HALF else value


def evaluate(
    code: bytes,
    registers: Mapping[int, int],
    load: Callable[[int], int],
    first: int | None = None,
) -> int:
    """Return what the expression `code` computes, modulo 2**64.

    `load` returns the 8 bytes at an address, and raises LookupError where they are not
    known. `first`, if given, is on the expression's stack from the start. Raises
    ExpressionError, LookupError.
    """
    stack = [] if first is None else [first]
    place = steps = 0
    try:
        while place < len(code):
            steps += 1
            if steps > _MAX_STEPS or len(stack) > _MAX_DEPTH:
                raise ExpressionError("an endless expression")
            place = _step(code, place, stack, registers, load)
        return stack[-1] & _MASK
    except (IndexError, struct.error) as error:
        raise ExpressionError("a damaged expression") from error


def _step(
    code: bytes,
    place: int,
    stack: list[int],
    registers: Mapping[int, int],
    load: Callable[[int], int],
) -> int:
    operation = code[place]
    place += 1
    if operation in _BINARY:
        second = stack.pop()
        stack.append(_BINARY[operation](stack.pop(), second) & _MASK)
    elif operation in _UNARY:
        stack.append(_UNARY[operation](stack.pop()) & _MASK)
    elif operation in _SHUFFLES:
        _SHUFFLES[operation](stack)
    elif operation == _DEREF:
        stack.append(load(stack.pop()))
    elif _BREG0 <= operation < _AFTER_BREG:
        offset, place = sleb(code, place)
        stack.append(registers[operation - _BREG0] + offset & _MASK)
    elif operation in {_BRA, _SKIP}:
        place = _branch(operation, code, place, stack)
    elif operation != _NOP:
        value, place = _constant(operation, code, place)
        if operation == _PLUS_UCONST:
            value += stack.pop()
        stack.append(value & _MASK)
    return place


def _constant(operation: int, code: bytes, place: int) -> tuple[int, int]:
    if _LIT0 <= operation < _REG0:
        return operation - _LIT0, place
    if operation in _CONSTANTS:
        constant = _CONSTANTS[operation]
        value: int = constant.unpack_from(code, place)[0]
        return value, place + constant.size
    if operation == _CONSTS:
        return sleb(code, place)
    if operation in {_PLUS_UCONST, _CONSTU}:
        return uleb(code, place)
    raise ExpressionError(f"operation {operation:#x}")


def _branch(operation: int, code: bytes, place: int, stack: list[int]) -> int:
    (offset,) = struct.unpack_from("<h", code, place)
    place += 2
    if operation == _SKIP or stack.pop():
        place += offset
    if place < 0:
        raise ExpressionError("a branch out of the expression")
    return place


def _duplicate(stack: list[int]) -> None:
    stack.append(stack[-1])


def _drop(stack: list[int]) -> None:
    stack.pop()


def _over(stack: list[int]) -> None:
    stack.append(stack[-2])


def _swap(stack: list[int]) -> None:
    stack[-1], stack[-2] = stack[-2], stack[-1]


def _rotate(stack: list[int]) -> None:
    stack[-1], stack[-2], stack[-3] = stack[-2], stack[-3], stack[-1]


_SHUFFLES: dict[int, Callable[[list[int]], None]] = {
    0x12: _duplicate,
    0x13: _drop,
    0x14: _over,
    0x16: _swap,
    0x17: _rotate,
}
