"""Where a call through another file's symbol leads, as the dynamic linker binds it."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from egressmon.files.elf import Elf

NEAR = 1 << 14
"""The most bytes that a function is taken to have if no symbol gives its size."""
_WRAPPER = 64
"""The most bytes of a function that only jumps to another."""

Jumps: TypeAlias = Callable[[bytes, int], Iterable[int]]
"""Takes code and its address; returns where its jumps lead."""


def is_imported(file: Elf, slot: int, callee: Elf, address: int, jumps: Jumps) -> bool:
    """Tell whether a call of `file` through its `slot` leads to `address` in `callee`.

    The slot is what the dynamic linker fills with the address of a symbol; the symbol's
    function may end by jumping on: send() is sendto() with less. Raises ElfError.
    """
    name = file.import_at(slot)
    symbol = callee.symbol(name) if name else None
    if symbol is None:
        return False
    start, size = symbol
    if start <= address < start + max(size, 1):
        return True
    if size > _WRAPPER:
        return False
    code = callee.read(callee.offset_of(start), size)
    return any(target <= address < target + NEAR for target in jumps(code, start))
