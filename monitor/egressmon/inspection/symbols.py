"""Which symbols an ELF file imports: those that the dynamic linker binds for it.

A symbol that no relocation names cannot be used, so the relocations are read; the
section headers, which a file may lie in or lack, are not.
"""

import struct
from collections.abc import Iterator

from egressmon.files.elf import Elf, ElfError

_STRINGS, _SYMBOLS = 5, 6
_RELA, _RELA_SIZE = 7, 8
_CALLS, _CALLS_SIZE = 23, 2
_RELOCATION = struct.Struct("<QQq")
_ENTRY = struct.Struct("<IBBHQQ")
_PIECE = _RELOCATION.size << 16
_MOST_RELOCATIONS = 1 << 23
_MOST_SYMBOLS = 1 << 18
_LONGEST_NAME = 256


class Imports:
    """The symbols that a file imports, by name."""

    def __init__(self, elf: Elf) -> None:
        """Read the relocations of `elf`. Raises ElfError."""
        self._elf = elf
        self._by_number = {
            number: name for number, name in _named(elf, _numbers(elf)) if name
        }
        self.names = frozenset(self._by_number.values())

    def slots(self, name: str) -> list[int]:
        """Return the addresses at which the imported symbol's address is stored.

        Raises ElfError.
        """
        wanted = {one for one, known in self._by_number.items() if known == name}
        return [
            address
            for data in _relocations(self._elf)
            for address, info, _ in _RELOCATION.iter_unpack(data)
            if info >> 32 in wanted
        ]


def _numbers(elf: Elf) -> set[int]:
    found: set[int] = set()
    for data in _relocations(elf):
        found.update(memoryview(data).cast("I")[3::6].tolist())
    found.discard(0)
    if len(found) > _MOST_SYMBOLS:
        raise ElfError(f"it imports more than {_MOST_SYMBOLS} symbols")
    return found


# The rows of both tables, piece by piece.
def _relocations(elf: Elf) -> Iterator[bytes]:
    table = elf.dynamic
    for tag, size_tag in ((_RELA, _RELA_SIZE), (_CALLS, _CALLS_SIZE)):
        if tag not in table or not table.get(size_tag, 0):
            continue
        place, size = elf.offset_of(table[tag]), table[size_tag]
        if size > _MOST_RELOCATIONS * _RELOCATION.size:
            raise ElfError(f"more than {_MOST_RELOCATIONS} relocations")
        end = place + size // _RELOCATION.size * _RELOCATION.size
        for begin in range(place, end, _PIECE):
            yield elf.exactly(begin, min(_PIECE, end - begin))


# Symbols that the file defines itself are left out: a relocation may name one, too.
def _named(elf: Elf, numbers: set[int]) -> Iterator[tuple[int, str]]:
    table = elf.dynamic
    if not numbers:
        return
    if _SYMBOLS not in table or _STRINGS not in table:
        raise ElfError("its relocations name symbols, and it has no table of them")
    symbols = elf.offset_of(table[_SYMBOLS])
    strings = elf.offset_of(table[_STRINGS])
    for number in sorted(numbers):
        row = elf.exactly(symbols + number * _ENTRY.size, _ENTRY.size)
        text, _, _, section, _, _ = _ENTRY.unpack(row)
        if not section:
            name = elf.read(strings + text, _LONGEST_NAME).partition(b"\0")[0]
            yield number, name.decode("utf-8", "surrogateescape")
