"""What lies at an address of a process: which mapping, which file, which unwind row."""

import struct

from egressmon.attribution.native.memory.mappings import AddressSpace, Mapping
from egressmon.attribution.native.unwinding.cfi_rows import CfiError, Row
from egressmon.attribution.native.unwinding.expression import ExpressionError
from egressmon.attribution.native.unwinding.images import Image, Images
from egressmon.files.elf import Elf, ElfError
from egressmon.values import dataclass

_MAX_KNOWN = 1 << 14

DAMAGE = (CfiError, ElfError, ExpressionError, ArithmeticError, struct.error)
"""What reading a damaged file's tables raises."""


@dataclass(frozen=True, slots=True)
class CodeAt:
    """What is at an address: its mapping and its row of the unwind tables."""

    mapping: Mapping | None
    row: Row | None
    return_register: int | None
    reason: str
    """Why there is no row; empty where there is one."""


class CodeLookup:
    """Looks up the addresses of one process in its mappings and their files."""

    def __init__(self, space: AddressSpace, images: Images, pid: int) -> None:
        """`space` is what process `pid` has mapped; it also keeps what was found."""
        self._space, self._images, self._pid = space, images, pid

    # A return address is behind its call, perhaps in the next function.
    def at(self, address: int, *, is_return: bool) -> CodeAt:
        """Return what is at `address`, or just before it if it `is_return`."""
        steps = self._space.steps
        key = -address if is_return else address
        known = steps.get(key)
        if not isinstance(known, CodeAt):
            if len(steps) >= _MAX_KNOWN:
                steps.clear()
            known = steps[key] = self._find(address, address - is_return)
        return known

    def _find(self, address: int, inside: int) -> CodeAt:
        mapping = self._space.find(address)
        if mapping is None:
            return CodeAt(None, None, None, "an address where no code is known to be")
        image = self._images.of(mapping, self._pid)
        if not isinstance(image, Image):
            return CodeAt(mapping, None, None, image.reason)
        try:
            bias = mapping.start - image.elf.mapped_address(mapping.offset)
            found = image.frames.row(inside - bias)
        except DAMAGE as error:
            return CodeAt(mapping, None, None, f"damaged tables ({error})")
        if found is None:
            return CodeAt(mapping, None, None, "no unwind tables")
        return CodeAt(mapping, *found, "")

    def is_mapped(self, address: int) -> bool:
        """Tell whether any code is mapped at `address`."""
        return self._space.find(address) is not None

    def image_of(self, mapping: Mapping) -> Image | None:
        """Return the file behind `mapping`; None if it cannot be had."""
        image = self._images.of(mapping, self._pid)
        return image if isinstance(image, Image) else None

    def file_at(self, address: int) -> tuple[Elf, int] | None:
        """Return the file mapped at `address`, and the address that it has there."""
        mapping = self._space.find(address)
        image = self.image_of(mapping) if mapping is not None else None
        if mapping is None or image is None:
            return None
        try:
            bias = mapping.start - image.elf.mapped_address(mapping.offset)
        except ElfError:
            return None
        return image.elf, address - bias
