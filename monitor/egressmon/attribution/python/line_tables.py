"""Look up the source line of an offset in a code object's bytecode.

In a table that is truncated or malformed the line is not found: it is None.
"""

_OLDEST, _PAIRS, _LOCATIONS = 9, 10, 11
_NO_LINE = -128
_MAX_LINE = 2**31 - 1  # lines are C ints: Include/cpython/code.h, co_firstlineno
_MAX_SHIFT = 36  # of such a number, doubled for its sign, in pieces of 6 bits


def line_of(minor: int, table: bytes, first: int, place: int) -> int | None:
    """Return the line at the byte offset `place`, or None if the table has none.

    `table` is in the format of CPython 3.`minor`; `first` is the code object's first
    line.
    """
    line = _line(minor, table, first, place)
    return line if line is not None and 0 <= line <= _MAX_LINE else None


def _line(minor: int, table: bytes, first: int, place: int) -> int | None:
    if minor < _LOCATIONS and place < 0:
        return first  # not begun yet
    try:
        if minor == _OLDEST:
            return _by_increments(table, first, place)
        if minor == _PAIRS:
            return _by_pairs(table, first, place)
        return _by_locations(table, first, place)
    except IndexError:
        return None


# 3.9: Objects/lnotab_notes.txt
def _by_increments(table: bytes, first: int, place: int) -> int:
    line, reached = first, 0
    for index in range(0, len(table) - 1, 2):
        reached += table[index]
        if reached > place:
            break
        line += _signed(table[index + 1])
    return line


# 3.10: PEP 626, Objects/lnotab_notes.txt
def _by_pairs(table: bytes, first: int, place: int) -> int | None:
    line, end = first, 0
    for index in range(0, len(table) - 1, 2):
        end += table[index]
        change = _signed(table[index + 1])
        if change != _NO_LINE:
            line += change
        if place < end:
            return None if change == _NO_LINE else line
    return None


# Since 3.11: Objects/locations.md (InternalDocs/code_objects.md); two bytes a unit.
def _by_locations(table: bytes, first: int, place: int) -> int | None:
    line, end, index = first, 0, 0
    while index < len(table):
        head = table[index]
        index += 1
        code = head >> 3 & 15
        end += 2 * ((head & 7) + 1)
        if code in {13, 14}:
            change, index = _varint(table, index)
            line += -(change >> 1) if change & 1 else change >> 1
        if code == 14:
            for _ in range(3):
                _, index = _varint(table, index)
        elif 10 <= code <= 12:
            line += code - 10
            index += 2
        elif code < 10:
            index += 1
        if place < end:
            return None if code == 15 else line
    return None


def _varint(table: bytes, index: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = table[index]
        index += 1
        value |= (byte & 63) << shift
        if not byte & 64:
            return value, index
        shift += 6
        if shift > _MAX_SHIFT:
            raise IndexError("no line is that far away")


def _signed(byte: int) -> int:
    return byte - 256 if byte >= 128 else byte
