"""Find instructions that call the kernel without the C library, and what for.

x86-64: `0f 05`; arm64: `svc #0`. Which call it is stands in a register, mostly as a
constant just before. Numbers: arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h of Linux.
"""

import re
import struct
from collections import defaultdict
from collections.abc import Iterator

from egressmon.files.elf import Elf, ElfError
from egressmon.inspection.budget import Budget
from egressmon.inspection.findings import Reason
from egressmon.inspection.functions import Functions
from egressmon.inspection.instructions import LONGEST, NoInstructionError, decode
from egressmon.inspection.registers import Constant
from egressmon.inspection.windows import windows
from egressmon.values import dataclass

X86_64, ARM64 = 62, 183
"""e_machine of the two; in code of others no calls are looked for."""
SENDING = {
    X86_64: {
        42: "connect", 44: "sendto", 46: "sendmsg", 307: "sendmmsg",
        425: "io_uring_setup", 426: "io_uring_enter", 427: "io_uring_register",
    },
    ARM64: {
        203: "connect", 206: "sendto", 211: "sendmsg", 269: "sendmmsg",
        425: "io_uring_setup", 426: "io_uring_enter", 427: "io_uring_register",
    },
}  # fmt: skip
"""The calls that open connections or send, by number, of each machine."""
# By `int 0x80`, which 64-bit programs may use as well (syscall_32.tbl).
_NARROW = {
    102: "socketcall", 345: "sendmmsg", 362: "connect", 369: "sendto", 370: "sendmsg",
    425: "io_uring_setup", 426: "io_uring_enter", 427: "io_uring_register",
}  # fmt: skip
_INT_80 = b"\xcd\x80"
_X32 = 0x40000000  # the same calls, with pointers of 32 bits
_MARKS = (b"\x0f\x05", _INT_80)
# svc with any number, which Linux does not look at.
_SVC = re.compile(rb"(?=[\x01\x21\x41\x61\x81\xa1\xc1\xe1].[\x00-\x1f]\xd4)", re.DOTALL)
_MOST_HITS = 1 << 16
_SMALL = frozenset({b"\0\0\0", b"\1\0\0"})  # the upper bytes of numbers below 512
_LONGEST_FUNCTION = 1 << 20
_BACK = 16  # instructions of arm64
_MOVZ = 0xD2800008  # movz x8, #imm16; without the top bit w8


@dataclass(frozen=True, slots=True)
class Call:
    """An instruction that calls the kernel."""

    address: int
    number: int | None
    """Which call; None if that is no constant."""
    certain: bool
    """Whether it is an instruction; else bytes that look like one."""
    narrow: bool = False
    """Whether it is `int 0x80`, which has other numbers."""

    def name_in(self, sending: dict[int, str]) -> str | None:
        """Return its name, if it sends; `sending` are the machine's calls that do."""
        if self.number is None:
            return None
        if self.narrow:
            return _NARROW.get(self.number)
        return sending.get(self.number & ~_X32)


def system_calls(elf: Elf, budget: Budget) -> list[Reason]:
    """Return what the instructions of `elf` could open connections with.

    Raises ElfError and SpentError.
    """
    if elf.machine not in SENDING:
        return []
    sending = SENDING[elf.machine]
    named: set[str] = set()
    unknown = uncertain = 0
    for call in _calls(elf, budget):
        if not call.certain:
            uncertain += 1
        elif call.number is None:
            unknown += 1
        elif (name := call.name_in(sending)) is not None:
            named.add(name)
    return list(_reasons(sorted(named), unknown, uncertain))


def _reasons(named: list[str], unknown: int, uncertain: int) -> Iterator[Reason]:
    if named:
        yield Reason(
            "system-call", f"calls the kernel for {', '.join(named)}", sure=True
        )
    if unknown:
        what = f"calls the kernel by itself, for what is not known ({unknown}x)"
        yield Reason("system-call", what, sure=False)
    if uncertain:
        what = f"has bytes that may be calls of the kernel ({uncertain}x)"
        yield Reason("system-call", what, sure=False)


def _calls(elf: Elf, budget: Budget) -> Iterator[Call]:
    hits = list(_hits(elf, budget))
    if elf.machine == ARM64:
        for address in hits:
            yield Call(address, _number_before(elf, address), certain=True)
        return
    functions = Functions(elf) if hits else None
    by_function: defaultdict[tuple[int, int] | None, list[int]] = defaultdict(list)
    for address in hits:
        by_function[functions.around(address) if functions else None].append(address)
    for function, addresses in by_function.items():
        yield from _in_function(elf, function, addresses, budget)


# The addresses of all bytes that look like the instruction.
def _hits(elf: Elf, budget: Budget) -> Iterator[int]:
    count = 0
    for segment in elf.segments:
        if not segment.executable:
            continue
        pieces = windows(elf, segment.offset, segment.size, 3, budget)
        for offset, data in pieces:
            base = offset - segment.offset + segment.address
            for place in _places(data, elf.machine):
                if elf.machine == ARM64 and (base + place) % 4:
                    continue
                count += 1
                if count > _MOST_HITS:
                    raise ElfError(f"more than {_MOST_HITS} calls of the kernel")
                yield base + place


def _places(data: bytes, machine: int) -> Iterator[int]:
    if machine == ARM64:
        yield from (match.start() for match in _SVC.finditer(data))
        return
    for mark in _MARKS:
        place = data.find(mark)
        while place >= 0:
            yield place
            place = data.find(mark, place + 1)


# Once through the function: where the instructions begin tells which bytes are one.
def _in_function(
    elf: Elf, function: tuple[int, int] | None, addresses: list[int], budget: Budget
) -> Iterator[Call]:
    size = max(addresses) + 2 - function[0] if function is not None else 0
    left = set(addresses)
    if function is not None and size <= _LONGEST_FUNCTION and budget.may_decode(size):
        code = elf.read(elf.offset_of(function[0]), size + LONGEST)
        yield from _decoded(code, function[0], left)
    # Where no function is known, or what is in it could not be read as code.
    for address in sorted(left):
        call = _by_bytes(elf, address)
        # No compiler makes `int 0x80` for 64-bit code: two such bytes are chance.
        if call.certain or not call.narrow:
            yield call


# Takes from `left` what is an instruction, or inside one.
def _decoded(code: bytes, begin: int, left: set[int]) -> Iterator[Call]:
    register, place = Constant(0), 0
    while left:
        try:
            one = decode(code, place)
        except NoInstructionError:
            return
        address = begin + place
        last = address + one.length - 2
        narrow = one.is_interrupt and code[last - begin : last - begin + 2] == _INT_80
        if (one.is_system_call or narrow) and last in left:
            yield Call(last, register.value, certain=True, narrow=narrow)
        left.difference_update(range(address, address + one.length))
        register.follow(code, place, one)
        place += one.length


# With a small constant just before (`mov eax, 42`), seven bytes are no coincidence.
def _by_bytes(elf: Elf, address: int) -> Call:
    code = elf.read(elf.offset_of(address) - 5, 7)
    narrow = code[5:] == _INT_80
    if len(code) == 7 and code[0] == 0xB8 and code[2:5] in _SMALL:
        number = int.from_bytes(code[1:5], "little")
        return Call(address, number, certain=True, narrow=narrow)
    return Call(address, None, certain=False, narrow=narrow)


def _number_before(elf: Elf, address: int) -> int | None:
    begin = elf.offset_of(address)
    first = max(begin - _BACK * 4, elf.offset_of(elf.segment_of(address).address))
    code = elf.exactly(first, (begin - first) // 4 * 4)
    for (word,) in reversed(list(struct.iter_unpack("<I", code))):
        if word & 0x7FE0001F == _MOVZ & 0x7FE0001F:
            return int(word >> 5 & 0xFFFF)
        if not _leaves_x8(word):
            return None
    return None


# Moves and additions to other registers; whatever else may set x8, or jump.
def _leaves_x8(word: int) -> bool:
    target = word & 0x1F
    is_plain = (
        word & 0x1F800000 in {0x12800000, 0x11000000}  # move wide, add immediate
        or word & 0x1F000000 in {0x0A000000, 0x0B000000}  # logical, add of registers
        or word == 0xD503201F  # nop
    )
    return is_plain and target != 8
