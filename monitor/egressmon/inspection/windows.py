"""Read an ELF file piece by piece, in bounded memory."""

import os
from collections.abc import Iterator

from egressmon.files.elf import Elf
from egressmon.inspection.budget import Budget

_SIZE = 1 << 22


def windows(
    elf: Elf, begin: int, size: int, overlap: int, budget: Budget
) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, data) of what is in the file between `begin` and its `size`.

    Each piece repeats the last `overlap` bytes of the one before. Holes, which read as
    zeros, are left out. Raises ElfError and SpentError.
    """
    end = min(begin + size, elf.file_size)
    place, fresh = begin, True
    while place < end:
        data_at = elf.ask(lambda fd, at=place: _next_data(fd, at))  # type: ignore[misc]
        if data_at > place:
            place, fresh = data_at, True
            continue
        start = place if fresh else max(begin, place - overlap)
        length = min(_SIZE, end - place)
        budget.read(length)
        yield start, elf.exactly(start, place - start + length)
        place, fresh = place + length, False


# Where the next data is at or after `place`; in no hole of a sparse file.
def _next_data(descriptor: int, place: int) -> int:
    try:
        return os.lseek(descriptor, place, os.SEEK_DATA)
    except OSError:  # ENXIO: only a hole is left
        return 1 << 62
