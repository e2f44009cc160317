"""arm64: signed return addresses, signal frames, and the caller of code without tables.

Pointer authentication (PAC) signs a return address in the bits that an address leaves
free, before it is saved on the stack; the key need not be known to take that out.
"""

from egressmon.attribution.native.memory.mappings import Mapping
from egressmon.attribution.native.unwinding.code_lookup import CodeAt
from egressmon.attribution.native.unwinding.processors.aarch64_calls import (
    is_call,
    leads_to,
)
from egressmon.attribution.native.unwinding.walk import Walk
from egressmon.files.elf import Elf, ElfError

_SIGNATURE = 0x7F << 48
"""What the kernel tells debuggers in NT_ARM_PAC_MASK, with addresses of 48 bits: the
byte above is the program's own (TBI), bit 55 tells the kernel's addresses."""
_LINK = 30
"""The register in which a call leaves its return address."""
# struct rt_sigframe (arch/arm64/kernel/signal.c), from the stack pointer: siginfo has
# 128 bytes, and uc_mcontext begins at 176 in struct ucontext, with the fault's address.
_SIGNAL_REGISTERS = 128 + 176 + 8
_SIGNAL_COUNTER = _SIGNAL_REGISTERS + 8 * 32


class Aarch64Walk(Walk):
    """Walks a stack of arm64."""

    leads_to = staticmethod(leads_to)

    def _step(self, here: CodeAt) -> bool:
        if not super()._step(here):
            return False
        self._address = self._plain(self._address)
        return self._address != 0

    # A return address as it was before it was signed, if it was. With large addresses
    # (LVA), which a program asks for, some of these bits may be its own.
    def _plain(self, address: int) -> int:
        if not address & _SIGNATURE or self._code.is_mapped(address):
            return address
        return address & ~_SIGNATURE

    # Compilers keep frame pointers here by default, but not in all code without tables
    # (musl). In a function that keeps none it is the caller's, which would be skipped:
    # it is believed where the call is seen to lead here, or of kinds that do keep it.
    def _without_table(self, mapping: Mapping) -> bool:
        if mapping.is_kernels and self._by_signal_frame():
            return True
        here = self._code.file_at(self._address)
        if self._interrupted and self._by_link(here, mapping):
            return True
        if here is not None and self._by_frame_pointer(here):
            return True
        return self._by_scan() or (
            self._keeps_frames(mapping) and self._by_frame_pointer()
        )

    def _keeps_frames(self, mapping: Mapping) -> bool:
        if mapping.is_unbacked or mapping.is_kernels:
            return True
        image = self._code.image_of(mapping)
        return image is not None and image.is_go

    # Of a function that calls nobody, or has not yet. Behind its own calls the register
    # has an address in itself: in code in no file, one elsewhere is its caller's.
    def _by_link(self, here: tuple[Elf, int] | None, mapping: Mapping) -> bool:
        link = self._registers[_LINK]
        if here is not None:
            is_caller = self._is_called_from(link, *here)
        else:
            is_caller = mapping.is_unbacked and self._is_behind_call(link, mapping)
        if not is_caller:
            return False
        self._saved_at = None
        return self._enter(link, "scan")

    def _is_behind_call(self, link: int, other_than: Mapping) -> bool:
        caller = self._code.file_at(self._plain(link))
        if caller is None or other_than.start <= self._plain(link) < other_than.end:
            return False
        file, behind = caller
        try:
            code = file.read(file.offset_of(behind - 4), 4)
        except ElfError:
            return False
        return is_call(int.from_bytes(code, "little"))

    def _by_frame_pointer(self, here: tuple[Elf, int] | None = None) -> bool:
        record = self._frame_record()
        if record is None:
            return False
        outer, address = record
        if here is not None and not self._is_called_from(address, *here):
            return False
        frame = self._registers[self._fp]
        self._saved_at = frame + 8 - self._base
        self._registers[self._fp] = outer
        # The record lies at the low end of its frame, whose size is not known. The
        # caller's own record is, as a rule, where its stack pointer is.
        self._registers[self._sp] = outer or frame + 16
        return self._enter(address, "frame-pointer")

    # (the outer frame pointer, a return address), if the frame pointer leads to such.
    def _frame_record(self) -> tuple[int, int] | None:
        frame = self._registers[self._fp]
        if frame & 7 or not self._registers[self._sp] <= frame <= self._end - 16:
            return None
        if self._is_missing(frame) or self._is_missing(frame + 8):
            return None
        outer, address = self._load(frame), self._load(frame + 8)
        if (outer and outer <= frame) or not self._code.is_mapped(self._plain(address)):
            return None
        return outer, address

    # A frame record is the running function's or a caller's, and the return address in
    # it or below it: above is what a caller keeps, and what earlier calls left there.
    def _scanned_end(self) -> int:
        if self._frame_record() is None:
            return super()._scanned_end()
        return self._registers[self._fp] + 16

    # The word found is not at its frame's end, from which the caller's tables reckon:
    # that is, as a rule, where the frame pointer is, which who was called has kept.
    def _by_scan(self) -> bool:
        if not super()._by_scan():
            return False
        frame, found = self._registers[self._fp], self._registers[self._sp]
        caller = self._code.at(self._plain(self._address), is_return=True)
        if found <= frame < self._end and caller.row is not None:
            self._registers[self._sp] = frame
        return True

    def _is_called_from(self, address: int, callee: Elf, place: int) -> bool:
        return super()._is_called_from(self._plain(address), callee, place)

    # A handler returns to the kernel's code, whose stack pointer is at what the kernel
    # saved; the kernel also left a frame record of it, which must say the same.
    def _by_signal_frame(self) -> bool:
        begin, frame = self._registers[self._sp], self._registers[self._fp]
        first = begin + _SIGNAL_REGISTERS
        counter = begin + _SIGNAL_COUNTER
        if not self._base <= begin <= counter <= self._end - 8:
            return False
        if not begin <= frame <= self._end - 16:
            return False
        saved = [self._load(first + 8 * number) for number in range(32)]
        record = [self._load(frame), self._load(frame + 8)]
        if saved[self._fp : _LINK + 1] != record:
            return False
        self._registers.update(enumerate(saved))
        self._saved_at = counter - self._base
        return self._enter(self._load(counter), "cfi", interrupted=True)
