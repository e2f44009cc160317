"""Read what attribution needs from an ELF file, which may be hostile.

The file is not mapped: if it were truncated meanwhile, SIGBUS would end the agent. Each
offset is checked, and each size is bounded. The format is that of the System V gABI,
"Object Files"; the GNU hash table is as in glibc's elf/dl-lookup.c.
"""

import mmap
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from itertools import takewhile
from typing import TypeVar

from egressmon.values import dataclass

_IDENT = b"\x7fELF\x02\x01"  # 64-bit, little-endian
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<qQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_NOTE = struct.Struct("<III")
_RELOCATION = struct.Struct("<QQq")
_LOAD, _DYNAMIC_SEGMENT, _NOTES, _EH_FRAME_HDR = 1, 2, 4, 0x6474E550
_EXECUTABLE = 1
_HASH, _STRINGS, _SYMBOLS, _GNU_HASH = 4, 5, 6, 0x6FFFFEF5
_RELA, _RELA_SIZE, _RELA_COUNT = 7, 8, 0x6FFFFFF9
_STUBS, _STUBS_SIZE = 23, 2
_BUILD_ID = 3
_MAX_SEGMENTS = 256
_MAX_SECTIONS = 4096
_MAX_NOTES = 1 << 16
_MAX_DYNAMIC = 1 << 16
_MAX_CHAIN = 4096
_MAX_IMPORTED = 1 << 16
_MAX_RELOCATIONS = 1 << 18
_MAX_NAME = 512
_MAX_PATH = 4096
_LAST = (1 << 64) - 1
_PAGE_MASK = mmap.PAGESIZE - 1  # arm64 kernels have pages of 4, 16 or 64 KiB
Answer = TypeVar("Answer")


class ElfError(ValueError):
    """The file is no 64-bit little-endian ELF file, or is damaged."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the file that is loaded; offset and size are in bytes."""

    offset: int
    address: int
    size: int
    executable: bool


class Elf:
    """An open ELF file. Not thread-safe.

    Addresses are those written in the file, before it is loaded anywhere.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over `descriptor`. Raises ElfError or OSError, and closes it then."""
        self._fd = descriptor
        try:
            self.status = os.fstat(descriptor)
            self.file_size = self.status.st_size
            self._imports: dict[int, str | None] = {}
            self._read_header()
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Close the file; reading from it is an error from now on."""
        descriptor, self._fd = self._fd, -1
        os.close(descriptor)

    def current_status(self) -> os.stat_result | None:
        """Return the file's present status; None if it was closed."""
        return os.fstat(self._fd) if self._fd >= 0 else None

    def ask(self, question: Callable[[int], Answer]) -> Answer:
        """Return what the function `question` returns for the file's descriptor."""
        return question(self._fd)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on; fewer at the end of the file.

        Raises ElfError.
        """
        if not 0 <= offset < self.file_size:
            return b""
        try:
            return os.pread(self._fd, size, offset)
        except (OSError, OverflowError) as error:
            raise ElfError(f"unreadable at {offset}") from error

    def exactly(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; raises ElfError if there are fewer."""
        data = self.read(offset, size)
        if len(data) != size:
            raise ElfError(f"cut short at {offset}")
        return data

    def _read_header(self) -> None:
        if not stat.S_ISREG(self.status.st_mode):
            raise ElfError("not a regular file")
        data = self.exactly(0, _HEADER.size)
        if not data.startswith(_IDENT):
            raise ElfError("not a 64-bit little-endian ELF file")
        (
            _, self.machine, _, _, segments, self._sections, _, _, size, count,
            self._section_size, self._section_count, self._names,
        ) = _HEADER.unpack(data)  # fmt: skip
        if size != _SEGMENT.size or count > _MAX_SEGMENTS:
            raise ElfError("an odd table of segments")
        self.segments: list[Segment] = []
        self.frame_header: Segment | None = None
        self.build_id: str | None = None
        self._dynamic: tuple[int, int] | None = None
        self.dynamic_address = 0
        table = self.exactly(segments, size * count)
        for kind, flags, offset, address, _, length, _, _ in _SEGMENT.iter_unpack(
            table
        ):
            self._note_segment(kind, flags, offset, address, length)

    def _note_segment(
        self, kind: int, flags: int, offset: int, address: int, size: int
    ) -> None:
        segment = Segment(offset, address, size, bool(flags & _EXECUTABLE))
        if kind == _LOAD:
            self.segments.append(segment)
        elif kind == _EH_FRAME_HDR:
            self.frame_header = segment
        elif kind == _DYNAMIC_SEGMENT:
            self._dynamic = (offset, min(size, _MAX_DYNAMIC))
            self.dynamic_address = address
        elif kind == _NOTES and self.build_id is None:
            self.build_id = _build_id(self.read(offset, min(size, _MAX_NOTES)))

    def offset_of(self, address: int) -> int:
        """Return the offset of `address` in the file. Raises ElfError."""
        segment = self.segment_of(address)
        return address - segment.address + segment.offset

    def segment_of(self, address: int) -> Segment:
        """Return the segment that `address` is in. Raises ElfError."""
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.size:
                return segment
        raise ElfError(f"address {address:#x} is in no segment")

    def address_of(self, offset: int) -> int:
        """Return the address of the byte at `offset` in the file. Raises ElfError."""
        for segment in self.segments:
            if segment.offset <= offset < segment.offset + segment.size:
                return offset - segment.offset + segment.address
        raise ElfError(f"offset {offset:#x} is in no segment")

    def mapped_address(self, offset: int) -> int:
        """Return the address of an executable mapping that begins at `offset`.

        A mapping begins at a page boundary, which may be before its segment. Raises
        ElfError.
        """
        for segment in self.segments:
            begin = segment.offset & ~_PAGE_MASK
            if segment.executable and begin <= offset < segment.offset + segment.size:
                return offset - segment.offset + segment.address
        return self.address_of(offset)

    def section(self, name: bytes) -> tuple[int, int] | None:
        """Return (offset, size) of the section `name`; None if there is none."""
        count, size = self._section_count, self._section_size
        if not self._sections or size != _SECTION.size or count > _MAX_SECTIONS:
            return None
        if self._names >= count:
            return None
        table = self.exactly(self._sections, size * count)
        rows: list[tuple[int, ...]] = list(_SECTION.iter_unpack(table))
        names = rows[int(self._names)][4]
        for row in rows:
            if self.read(names + row[0], len(name) + 1) == name + b"\0":
                return row[4], row[5]
        return None

    @cached_property
    def dynamic(self) -> dict[int, int]:
        """The dynamic section, value by tag; empty in a static program."""
        return dict(self._dynamic_rows())

    # As the dynamic linker reads them: by the address, and to the first that is zero.
    def _dynamic_rows(self) -> list[tuple[int, int]]:
        if self._dynamic is None:
            return []
        offset, size = self._dynamic
        with suppress(ElfError):
            offset = self.offset_of(self.dynamic_address)
        data = self.read(offset, size)
        rows = _DYNAMIC.iter_unpack(data[: len(data) // 16 * 16])
        return list(takewhile(lambda row: row[0], rows))

    def symbol(self, name: str) -> tuple[int, int] | None:
        """Return (address, size) of a dynamic symbol that the file defines, or None."""
        table = self.dynamic
        if _SYMBOLS not in table or _STRINGS not in table:
            return None
        symbols = self.offset_of(table[_SYMBOLS])
        strings = self.offset_of(table[_STRINGS])
        wanted = name.encode()
        if _GNU_HASH in table:
            numbers = self._gnu_candidates(self.offset_of(table[_GNU_HASH]), wanted)
        elif _HASH in table:
            numbers = self._candidates(self.offset_of(table[_HASH]), wanted)
        else:
            return None
        for number in numbers:
            data = self.exactly(symbols + number * _SYMBOL.size, _SYMBOL.size)
            text, _, _, section, address, length = _SYMBOL.unpack(data)
            if section and self.read(strings + text, len(wanted) + 1) == wanted + b"\0":
                return address, length
        return None

    def strings(self, tag: int) -> list[str]:
        """Return the strings of the dynamic section with `tag`, such as DT_NEEDED."""
        if _STRINGS not in self.dynamic:
            return []
        strings = self.offset_of(self.dynamic[_STRINGS])
        return [
            self.read(strings + value, _MAX_PATH)
            .partition(b"\0")[0]
            .decode(errors="surrogateescape")
            for kind, value in self._dynamic_rows()
            if kind == tag
        ]

    def pointer_to(self, name: str) -> int | None:
        """Return the address of the slot that holds the address of an imported symbol.

        None if the file does not import the symbol `name`.
        """
        table = self.dynamic
        if any(tag not in table for tag in (_SYMBOLS, _STRINGS, _RELA, _RELA_SIZE)):
            return None
        number = self._imported(name.encode())
        if number is None:
            return None
        first = table.get(_RELA_COUNT, 0) * _RELOCATION.size  # without symbols
        size = min(table[_RELA_SIZE] - first, _MAX_RELOCATIONS * _RELOCATION.size)
        data = self.read(self.offset_of(table[_RELA]) + first, max(size, 0))
        whole = data[: len(data) // _RELOCATION.size * _RELOCATION.size]
        for address, kind, _ in _RELOCATION.iter_unpack(whole):
            if kind >> 32 == number:
                return int(address)
        return None

    def import_at(self, address: int) -> str | None:
        """Return the name of the imported symbol whose slot is `address`, or None."""
        if address not in self._imports:
            if len(self._imports) >= _MAX_IMPORTED:
                self._imports.clear()
            self._imports[address] = self._find_import(address)
        return self._imports[address]

    def _find_import(self, address: int) -> str | None:
        for tag, size_tag in ((_STUBS, _STUBS_SIZE), (_RELA, _RELA_SIZE)):
            found = self._relocation(address, tag, size_tag)
            if found is not None and found[0]:
                return self._name_of(found[0])
        return None

    def _name_of(self, number: int) -> str | None:
        table = self.dynamic
        if _SYMBOLS not in table or _STRINGS not in table:
            return None
        place = self.offset_of(table[_SYMBOLS]) + number * _SYMBOL.size
        text = _SYMBOL.unpack(self.exactly(place, _SYMBOL.size))[0]
        name = self.read(self.offset_of(table[_STRINGS]) + text, _MAX_PATH)
        return name.partition(b"\0")[0].decode(errors="replace")

    # (symbol number, addend) of the relocation of the slot at `address`.
    def _relocation(
        self, address: int, tag: int, size_tag: int
    ) -> tuple[int, int] | None:
        table = self.dynamic
        if tag not in table or size_tag not in table or not 0 <= address <= _LAST:
            return None
        size = min(table[size_tag], _MAX_RELOCATIONS * _RELOCATION.size)
        data = self.read(self.offset_of(table[tag]), max(size, 0))
        place = _find_row(data, struct.pack("<Q", address), _RELOCATION.size)
        if place is None:
            return None
        _, kind, addend = _RELOCATION.unpack_from(data, place)
        return kind >> 32, addend

    def pointer_at(self, address: int) -> int:
        """Return the address in this file that the slot at `address` holds, or 0."""
        found = self._relocation(address, _RELA, _RELA_SIZE)
        if found is not None:
            number, addend = found
            return 0 if number else addend
        return self._word(self.offset_of(address), 8)

    # The number of an imported symbol: those come before the symbols in the hash table.
    def _imported(self, name: bytes) -> int | None:
        table = self.dynamic
        if _GNU_HASH not in table:
            return None
        first = self._word(self.offset_of(table[_GNU_HASH]) + 4)
        size = min(first, _MAX_IMPORTED) * _SYMBOL.size
        symbols = self.exactly(self.offset_of(table[_SYMBOLS]), size)
        strings = self.offset_of(table[_STRINGS])
        for number, symbol in enumerate(_SYMBOL.iter_unpack(symbols)):
            if self.read(strings + symbol[0], len(name) + 1) == name + b"\0":
                return number
        return None

    def _gnu_candidates(self, place: int, name: bytes) -> list[int]:
        buckets, first, words, _ = struct.unpack("<IIII", self.exactly(place, 16))
        if not buckets:
            return []
        value = 5381
        for byte in name[:_MAX_NAME]:
            value = (value * 33 + byte) & 0xFFFFFFFF
        chains = place + 16 + words * 8
        number = self._word(chains + value % buckets * 4)
        chains += buckets * 4
        found: list[int] = []
        while first <= number and len(found) < _MAX_CHAIN:
            entry = self._word(chains + (number - first) * 4)
            if entry | 1 == value | 1:
                found.append(number)
            if entry & 1:
                break
            number += 1
        return found

    def _candidates(self, place: int, name: bytes) -> list[int]:
        buckets = self._word(place)
        if not buckets:
            return []
        value = 0
        for byte in name[:_MAX_NAME]:
            value = (value << 4) + byte
            value = (value ^ (value & 0xF0000000) >> 24) & 0x0FFFFFFF
        number = self._word(place + 8 + value % buckets * 4)
        found: list[int] = []
        while number and len(found) < _MAX_CHAIN:
            found.append(number)
            number = self._word(place + 8 + (buckets + number) * 4)
        return found

    def _word(self, offset: int, size: int = 4) -> int:
        return int.from_bytes(self.exactly(offset, size), "little")


# The offset of the row that begins with `word`. bytes.find is fast in large tables.
def _find_row(data: bytes, word: bytes, size: int) -> int | None:
    place = data.find(word)
    while place >= 0 and (place % size or len(data) - place < size):
        place = data.find(word, place + 1)
    return place if place >= 0 else None


def _build_id(notes: bytes) -> str | None:
    place = 0
    while place + _NOTE.size <= len(notes):
        name_size, size, kind = _NOTE.unpack_from(notes, place)
        name = place + _NOTE.size
        begin = name + (name_size + 3 & ~3)
        if kind == _BUILD_ID and notes[name : name + name_size] == b"GNU\0":
            return notes[begin : begin + size].hex() or None
        place = begin + (size + 3 & ~3)
    return None
