"""arm64: where a call leads, as x86_64.py tells of x86-64.

Encodings are those of the Arm Architecture Reference Manual, C6.2: BL, BLR and its
authenticated forms, B, BR, BTI, ADRP, ADD and LDR (immediate). Each instruction has
four bytes.
"""

import struct
from collections.abc import Iterator

from egressmon.attribution.native.unwinding.call_targets import NEAR, is_imported
from egressmon.files.elf import Elf

_MAX_JUMPS = 4
_MAX_BACK = 16
"""How many instructions before a call its address may be loaded."""
_STUB = 6
"""How many instructions a stub has at most: BTI, ADRP, LDR, ADD, AUTIA1716, BR."""
_BTI, _BTI_TARGETS = 0xD503241F, 0xC0
_IP1 = 17
"""The register by which a stub jumps on."""
_LEAVES_STUB = (0xD61F0220, 0xD71F0A30)  # BR X17; BRAA X17, X16


def leads_to(caller: Elf, behind: int, callee: Elf, address: int) -> bool:
    """Tell whether a call leads to the function that `address` is in: see Walk."""
    if behind & 3:
        return False
    place = behind - 4
    code = _words(caller, place, 1)
    if not code:
        return False
    if _is_direct_call(code[0]):
        return _is_at(caller, _target(code[0], place), callee, address)
    register = _called_register(code[0])
    if register is None:
        return False
    begin = max(place - 4 * _MAX_BACK, caller.segment_of(place).address)
    loading = _words(caller, begin, (place - begin) // 4)
    slot = _loaded(loading, begin, register)
    return slot is not None and is_imported(caller, slot, callee, address, _jumps)


def is_call(word: int) -> bool:
    """Tell whether an instruction is a call."""
    return _is_direct_call(word) or _called_register(word) is not None


def _is_direct_call(word: int) -> bool:
    return word & 0xFC000000 == 0x94000000  # BL


# BLR; BLRAAZ, BLRABZ (without a modifier), BLRAA, BLRAB (with one in a register).
def _called_register(word: int) -> int | None:
    if word & 0xFFFFFC1F == 0xD63F0000 or word & 0xFFFFF81F == 0xD63F081F:
        return word >> 5 & 31
    return word >> 5 & 31 if word & 0xFFFFF800 == 0xD73F0800 else None


def _words(file: Elf, place: int, count: int) -> tuple[int, ...]:
    data = file.read(file.offset_of(place), 4 * count)
    return struct.unpack_from(f"<{len(data) // 4}I", data)


# Of BL and B.
def _target(word: int, place: int) -> int:
    offset = word & 0x3FFFFFF
    return place + 4 * (offset - (offset >> 25 << 26))


# The slot that the last LDR of `code` into the register reads, with the ADRP before it.
# Nothing else may write the register in between, nor the flow end.
def _loaded(code: tuple[int, ...], place: int, register: int) -> int | None:
    offset = None
    for index in range(len(code) - 1, -1, -1):
        word = code[index]
        if word & 0x9F00001F == 0x90000000 | register and offset is not None:  # ADRP
            # An ADRP's pages are of 4 KiB, whatever the kernel's are.
            pages = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
            pages -= pages >> 20 << 21
            return (place + 4 * index & ~0xFFF) + (pages << 12) + offset
        if word & 0xFFC0001F == 0xF9400000 | register and offset is None:
            # LDR Xn, [Xm, #offset]: Xm is what counts from here on.
            offset, register = (word >> 10 & 0xFFF) * 8, word >> 5 & 31
        elif _may_write(word, register) or _ends_flow(word):
            return None
    return None


# Nearly all instructions but branches have the register that they write in bits 0 to 4.
def _may_write(word: int, register: int) -> bool:
    return word & 31 == register and word >> 26 & 7 != 5


def _ends_flow(word: int) -> bool:
    is_jump = word & 0xFC000000 == 0x14000000  # B
    return is_jump or (word & 0xFE9F0000 == 0xD61F0000 and not is_call(word))  # BR, RET


# The function at place, or that it jumps on to: as stubs for other files' do.
def _is_at(file: Elf, place: int, callee: Elf, address: int) -> bool:
    for _ in range(_MAX_JUMPS):
        code = _words(file, place, _STUB)
        start = 1 if code and code[0] & ~_BTI_TARGETS == _BTI else 0
        slot = _slot_of_stub(code, start, place)
        if slot is not None:
            return is_imported(file, slot, callee, address, _jumps)
        if file is callee and place <= address < place + NEAR:
            return True
        if len(code) <= start or code[start] & 0xFC000000 != 0x14000000:  # B
            return False
        place = _target(code[start], place + 4 * start)
    return False


def _slot_of_stub(code: tuple[int, ...], start: int, place: int) -> int | None:
    if len(code) <= start or code[start] & 0x9F000000 != 0x90000000:  # ADRP
        return None
    for at, word in enumerate(code):
        if word in _LEAVES_STUB:
            return _loaded(code[:at], place, _IP1)
    return None


def _jumps(code: bytes, start: int) -> Iterator[int]:
    words = struct.unpack_from(f"<{len(code) // 4}I", code)
    for index, word in enumerate(words):
        if word & 0xFC000000 == 0x14000000:  # B
            yield _target(word, start + 4 * index)
