"""Where a CALL of x86-64 leads: tells a return address from a word that looks like one.

A stack is full of return addresses of calls that ended long ago. One belongs to the
caller of the running code if the CALL before it leads there: directly, or through the
dynamic linker to the symbol that is there. Encodings are those of the Intel SDM,
volume 2: CALL, JMP.
"""

import struct

from egressmon.files.elf import Elf

_LONGEST = 6
_NEAR = 1 << 14
"""The most bytes that a function is taken to have if no symbol gives its size."""
_WRAPPER = 64
"""The most bytes of a function that only jumps to another."""
_MAX_JUMPS = 4
_ENDBR, _BND = b"\xf3\x0f\x1e\xfa", b"\xf2"
_CALL, _JUMP = b"\xe8", b"\xe9"
_CALL_SLOT, _JUMP_SLOT = b"\xff\x15", b"\xff\x25"


def leads_to(caller: Elf, behind: int, callee: Elf, address: int) -> bool:
    """Tell whether a call leads to the function that `address` is in.

    The call is the instruction before the address `behind` in the file `caller`;
    `address` is in the file `callee`, which may be the same. No for calls through a
    register or through memory that the process fills: their target is not in the file.
    Raises ElfError.
    """
    code = caller.read(caller.offset_of(behind - _LONGEST), _LONGEST)
    if len(code) < _LONGEST:
        return False
    place = behind + struct.unpack_from("<i", code, 2)[0]
    if code[1:2] == _CALL:
        return _is_at(caller, place, callee, address)
    if code[:2] == _CALL_SLOT:
        return _is_imported(caller, place, callee, address)
    return False


# The function at place, or that it jumps on to: as stubs for other files' do.
def _is_at(file: Elf, place: int, callee: Elf, address: int) -> bool:
    for _ in range(_MAX_JUMPS):
        code = file.read(file.offset_of(place), 16)
        start = len(_ENDBR) if code.startswith(_ENDBR) else 0
        start += code.startswith(_BND, start)
        behind = place + start
        if code[start : start + 2] == _JUMP_SLOT and len(code) >= start + 6:
            slot = behind + 6 + struct.unpack_from("<i", code, start + 2)[0]
            return _is_imported(file, slot, callee, address)
        if file is callee and place <= address < place + _NEAR:
            return True
        if code[start : start + 1] != _JUMP or len(code) < start + 5:
            return False
        place = behind + 5 + struct.unpack_from("<i", code, start + 1)[0]
    return False


def _is_imported(file: Elf, slot: int, callee: Elf, address: int) -> bool:
    name = file.import_at(slot)
    symbol = callee.symbol(name) if name else None
    if symbol is None:
        return False
    start, size = symbol
    if start <= address < start + max(size, 1):
        return True
    if size > _WRAPPER:
        return False
    # It may end by jumping on: send() is sendto() with less.
    code = callee.read(callee.offset_of(start), size)
    at = code.find(_JUMP)
    while 0 <= at <= len(code) - 5:
        target = start + at + 5 + struct.unpack_from("<i", code, at + 1)[0]
        if target <= address < target + _NEAR:
            return True
        at = code.find(_JUMP, at + 1)
    return False
