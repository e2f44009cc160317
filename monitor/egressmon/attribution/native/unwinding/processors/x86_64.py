"""x86-64: where a CALL leads, and the caller of code without tables.

A stack is full of return addresses of calls that ended long ago. One belongs to the
caller of the running code if the CALL before it leads there: directly, or through the
dynamic linker to the symbol that is there. Encodings are those of the Intel SDM,
volume 2: CALL, JMP.
"""

import struct
from collections.abc import Iterator

from egressmon.attribution.native.memory.mappings import Mapping
from egressmon.attribution.native.unwinding.call_targets import NEAR, is_imported
from egressmon.attribution.native.unwinding.walk import Walk
from egressmon.files.elf import Elf

_LONGEST = 6
_MAX_JUMPS = 4
_ENDBR, _BND = b"\xf3\x0f\x1e\xfa", b"\xf2"
_CALL, _JUMP = b"\xe8", b"\xe9"
_CALL_SLOT, _JUMP_SLOT = b"\xff\x15", b"\xff\x25"


def leads_to(caller: Elf, behind: int, callee: Elf, address: int) -> bool:
    """Tell whether a call leads to the function that `address` is in: see Walk."""
    code = caller.read(caller.offset_of(behind - _LONGEST), _LONGEST)
    if len(code) < _LONGEST:
        return False
    place = behind + struct.unpack_from("<i", code, 2)[0]
    if code[1:2] == _CALL:
        return _is_at(caller, place, callee, address)
    if code[:2] == _CALL_SLOT:
        return is_imported(caller, place, callee, address, _jumps)
    return False


class X8664Walk(Walk):
    """Walks a stack of x86-64."""

    leads_to = staticmethod(leads_to)

    def _without_table(self, mapping: Mapping) -> bool:  # noqa: ARG002 -- as in Walk
        return self._by_frame_pointer() or self._by_scan()

    # Code without tables: compiled at run time, Go, some assembly.
    def _by_frame_pointer(self) -> bool:
        frame = self._registers[self._fp]
        if frame & 7 or not self._registers[self._sp] <= frame <= self._end - 16:
            return False
        if self._is_missing(frame) or self._is_missing(frame + 8):
            return False
        outer, address = self._load(frame), self._load(frame + 8)
        if (outer and outer <= frame) or not self._code.is_mapped(address):
            return False
        self._registers[self._fp] = outer
        self._registers[self._sp] = frame + 16
        self._saved_at = frame + 8 - self._base
        return self._enter(address, "frame-pointer")


# The function at place, or that it jumps on to: as stubs for other files' do.
def _is_at(file: Elf, place: int, callee: Elf, address: int) -> bool:
    for _ in range(_MAX_JUMPS):
        code = file.read(file.offset_of(place), 16)
        start = len(_ENDBR) if code.startswith(_ENDBR) else 0
        start += code.startswith(_BND, start)
        behind = place + start
        if code[start : start + 2] == _JUMP_SLOT and len(code) >= start + 6:
            slot = behind + 6 + struct.unpack_from("<i", code, start + 2)[0]
            return is_imported(file, slot, callee, address, _jumps)
        if file is callee and place <= address < place + NEAR:
            return True
        if code[start : start + 1] != _JUMP or len(code) < start + 5:
            return False
        place = behind + 5 + struct.unpack_from("<i", code, start + 1)[0]
    return False


def _jumps(code: bytes, start: int) -> Iterator[int]:
    at = code.find(_JUMP)
    while 0 <= at <= len(code) - 5:
        yield start + at + 5 + struct.unpack_from("<i", code, at + 1)[0]
        at = code.find(_JUMP, at + 1)
