"""Call frame information: how to get from one frame of a program to its caller's.

Format: LSB Core, "Exception Frames" (.eh_frame, .eh_frame_hdr), and DWARF 5, 6.4.
"""

import bisect
import struct

from egressmon.attribution.native.unwinding.cfi_program import FrameProgram
from egressmon.attribution.native.unwinding.cfi_rows import (
    CfiError,
    Common,
    FrameEntry,
    Row,
    plain_rules,
)
from egressmon.attribution.native.unwinding.expression import (
    ExpressionError,
    sleb,
    uleb,
)
from egressmon.files.elf import Elf, ElfError

_MASK = (1 << 64) - 1
_MAX_ENTRY = 1 << 16
_MAX_ROWS = 1 << 16
_MAX_COMMON = 4096
_MAX_ENTRIES = 1 << 20

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


class FrameTable:
    """The unwind tables of one file; the rows found are kept by address."""

    def __init__(self, elf: Elf) -> None:
        """Find the tables in `elf`; a file without any has no rows."""
        self._elf = elf
        self._common: dict[int, Common] = {}
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
        """Return the row at `address`, with the register that holds the return address.

        None if the tables do not cover it. Raises CfiError if they are damaged.
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
        row = FrameProgram(frame, address, self._location).run()
        row.plain = plain_rules(row, frame.common.return_register)
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

    def _frame(self, place: int) -> FrameEntry:
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
        return FrameEntry(begin, begin + size, data[at:], program, common)

    def _common_at(self, place: int) -> Common:
        known = self._common.get(place)
        if known is None:
            if len(self._common) >= _MAX_COMMON:
                self._common.clear()
            known = self._common[place] = self._read_common(place)
        return known

    def _read_common(self, place: int) -> Common:
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
        encoding, program = self._augmentation(augmentation, data, at, place + 4)
        signal = b"S" in augmentation
        return Common(
            code, factor, register, encoding, signal, bool(augmentation), data[program:]
        )

    # How the entry's pointers are encoded, and where its program begins.
    def _augmentation(
        self, letters: bytes, data: bytes, at: int, place: int
    ) -> tuple[int, int]:
        encoding = 0
        if not letters.startswith(b"z"):
            return encoding, at
        length, at = uleb(data, at)
        program = at + length
        for letter in letters[1:]:
            if letter == ord("R"):
                encoding, at = data[at], at + 1
            elif letter == ord("P"):
                form = data[at]
                _, after = self._pointer(form & ~_INDIRECT, place + at + 1)
                at = after - place
            elif letter == ord("L"):
                at += 1
        return encoding, program

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

    def _location(self, frame: FrameEntry, at: int) -> tuple[int, int]:
        offset = self._elf.offset_of(frame.place + at)
        value, after = self._pointer(frame.common.encoding, offset)
        return value, at + after - offset
