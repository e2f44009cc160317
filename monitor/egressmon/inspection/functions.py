"""Where the functions of an ELF file begin, by the table that unwinders search.

Format: LSB Core, "Exception Frames" (.eh_frame_hdr). From a function's beginning on,
instructions can be told from the bytes inside them.
"""

import bisect
import struct

from egressmon.files.elf import Elf, ElfError

_SORTED_TABLE = 0x3B  # sdata4, relative to the header: what linkers write
_POINTER_SIZES = {0x03: 4, 0x0B: 4, 0x04: 8, 0x0C: 8}
_FORMAT = 0x0F
_MAX_FUNCTIONS = 1 << 21
_MASK = (1 << 64) - 1


class Functions:
    """The addresses at which functions begin, in order."""

    def __init__(self, elf: Elf) -> None:
        """Read the table of `elf`; a file without one has no functions."""
        try:
            self._begins = sorted(_begins(elf))
        except (ElfError, LookupError, struct.error):
            self._begins = []

    def around(self, address: int) -> tuple[int, int] | None:
        """Return where the function around `address` begins, and where the next does.

        None if none is known to begin before it. The last one's end is not known.
        """
        index = bisect.bisect_right(self._begins, address)
        if not index:
            return None
        end = self._begins[index] if index < len(self._begins) else _MASK
        return self._begins[index - 1], end


def _begins(elf: Elf) -> list[int]:
    header = elf.frame_header
    if header is None:
        return []
    version, pointer, count, table = elf.exactly(header.offset, 4)
    if version != 1 or table != _SORTED_TABLE:
        return []
    place = header.offset + 4 + _POINTER_SIZES[pointer & _FORMAT]
    size = _POINTER_SIZES[count & _FORMAT]
    number = int.from_bytes(elf.exactly(place, size), "little")
    data = elf.read(place + size, min(number, _MAX_FUNCTIONS) * 8)
    rows = memoryview(data)[: len(data) // 8 * 8].cast("i")
    return [begin + header.address & _MASK for begin in rows[::2]]
