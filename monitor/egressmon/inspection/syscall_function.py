"""For what a file calls the C library's function `syscall`, which takes any number.

x86-64: the number is in edi as it is called, mostly as a constant. A call goes by way
of the slot with the function's address (`call [rip+…]`), or of a stub that jumps by it.
"""

import re
import struct
from collections import defaultdict
from collections.abc import Iterator

from egressmon.files.elf import Elf
from egressmon.inspection.budget import Budget
from egressmon.inspection.functions import Functions
from egressmon.inspection.instructions import (
    FIRST,
    LONGEST,
    Instruction,
    NoInstructionError,
    decode,
)
from egressmon.inspection.registers import Constant, loads
from egressmon.inspection.system_calls import X86_64
from egressmon.inspection.windows import windows
from egressmon.values import dataclass

_NUMBER = 7  # rdi
_UNKNOWN = -1
_ELSEWHERE = -2
_OVERLAP = 16
# All that can name a slot by its distance: an opcode, then rip and 32 bits.
_BY_SLOT = re.compile(rb"[\x05\x0d\x15\x1d\x25\x2d\x35\x3d](?=....)", re.DOTALL)
_CALL, _JUMP = 0x15, 0x25  # behind ff
_NEAR = re.compile(rb"(?:[\xe8\xe9]|\x0f[\x80-\x8f])...[\x00-\x0f\xf0-\xff]", re.DOTALL)
_ALIGNED = 8
_STUB_BEFORE = (b"\xf3\x0f\x1e\xfa\xf2\xff\x25", b"\xf3\x0f\x1e\xfa\xff\x25")
_LONGEST_FUNCTION = 1 << 20
_MOST_CALLS = 1 << 14


@dataclass(frozen=True, slots=True)
class _Use:
    """An instruction that names a slot."""

    address: int
    register: int | None
    """That gets the function's address; None: it is called at once."""
    is_jump: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """The numbers it is called with, and whether there may be others."""

    numbers: frozenset[int]
    unknown: bool


def numbers_asked(elf: Elf, slots: list[int], budget: Budget) -> Asked:
    """Return for what `elf` calls the function whose address is in `slots`.

    Raises ElfError and SpentError.
    """
    size = sum(one.size for one in elf.segments if one.executable)
    if elf.machine != X86_64 or not slots or not budget.may_match(2 * size):
        return Asked(frozenset(), unknown=True)
    uses = {use.address: use for use in _uses(elf, frozenset(slots), budget)}
    if len(uses) > _MOST_CALLS:
        return Asked(frozenset(), unknown=True)
    numbers: set[int] = set()
    stubs: set[int] = set()
    for use, number in _numbers(elf, list(uses.values()), budget):
        start = _start(elf, use.address)
        if number == _UNKNOWN and use.is_jump and not start % _ALIGNED:
            stubs.add(start)
        else:
            numbers.add(number)
    callers = dict(_near(elf, stubs, budget))
    if len(callers) > _MOST_CALLS or stubs - set(callers.values()):
        numbers.add(_UNKNOWN)
    else:
        calls = [_Use(address, None) for address in callers]
        numbers.update(number for _, number in _numbers(elf, calls, budget))
    return Asked(frozenset(numbers - {_UNKNOWN}), _UNKNOWN in numbers or not numbers)


def _code(elf: Elf, budget: Budget) -> Iterator[tuple[int, bytes]]:
    for one in elf.segments:
        if one.executable:
            for offset, data in windows(elf, one.offset, one.size, _OVERLAP, budget):
                yield offset - one.offset + one.address, data


def _uses(elf: Elf, slots: frozenset[int], budget: Budget) -> Iterator[_Use]:
    for base, data in _code(elf, budget):
        for match in _BY_SLOT.finditer(data):
            place = match.start()
            (distance,) = struct.unpack_from("<i", data, place + 1)
            if base + place + 5 + distance in slots and place > 1:
                yield _use(base + place, data[place - 2 : place + 1])


def _use(address: int, code: bytes) -> _Use:
    prefix, opcode, modrm = code
    if opcode == 0x8B and prefix & 0xF8 == 0x48:
        return _Use(address - 2, modrm >> 3 & 7 | (prefix & 4) << 1)
    is_jump = opcode == 0xFF and modrm == _JUMP
    is_call = opcode == 0xFF and modrm == _CALL
    register = None if is_call or is_jump else _ELSEWHERE
    return _Use(address - 1, register, is_jump=is_jump)


# A stub begins with the jump, or with what marks it as a target of jumps (endbr64).
def _start(elf: Elf, address: int) -> int:
    for whole in _STUB_BEFORE:
        size = len(whole) - 2
        if elf.read(elf.offset_of(address) - size, len(whole)) == whole:
            return address - size
    return address


# (the call or jump, the stub that it goes to) of all that go to one of `stubs`.
def _near(elf: Elf, stubs: set[int], budget: Budget) -> Iterator[tuple[int, int]]:
    if not stubs:
        return
    for base, data in _code(elf, budget):
        for match in _NEAR.finditer(data):
            end = match.end()
            target = base + end + int(struct.unpack_from("<i", data, end - 4)[0])
            if target in stubs:
                yield base + match.start(), target


# The number of each call; _UNKNOWN where it is none that is known.
def _numbers(elf: Elf, uses: list[_Use], budget: Budget) -> Iterator[tuple[_Use, int]]:
    functions = Functions(elf)
    by_function: defaultdict[tuple[int, int] | None, list[_Use]] = defaultdict(list)
    for use in uses:
        by_function[functions.around(use.address)].append(use)
    for function, ones in by_function.items():
        size = _size(function, ones) if function is not None else 0
        if function is None or size > _LONGEST_FUNCTION or not budget.may_decode(size):
            yield from ((use, _UNKNOWN) for use in ones)
            continue
        code = elf.read(elf.offset_of(function[0]), size + LONGEST)
        yield from _in_function(code, size, function[0], ones)


# As far as the last call, or to the function's end where a register has the address.
def _size(function: tuple[int, int], uses: list[_Use]) -> int:
    begin, end = function
    if any(use.register is not None for use in uses):
        return end - begin
    return max(use.address for use in uses) + 1 - begin


def _in_function(
    code: bytes, size: int, begin: int, uses: list[_Use]
) -> Iterator[tuple[_Use, int]]:
    at = {use.address: use for use in uses}
    held: dict[int | None, _Use] = {}
    unseen = set(at)
    number, place = Constant(_NUMBER), 0
    while place < size:
        try:
            one = decode(code, place)
        except NoInstructionError:
            break
        here = at.get(begin + place)
        called = held.get(_called(one))
        if here is not None and here.register is None:
            called = here
        if called is not None:
            unseen.discard(called.address)
            yield called, _UNKNOWN if number.value is None else number.value
        for register in [one_held for one_held in held if _is_lost(one, one_held)]:
            del held[register]
        if here is not None and here.register is not None:
            held[here.register] = here
        number.follow(code, place, one)
        place += one.length
    yield from ((use, _UNKNOWN) for use in uses if use.address in unseen)


def _is_lost(one: Instruction, register: int | None) -> bool:
    return register is not None and loads(one, register)


# The register whose value is called, or jumped to.
def _called(one: Instruction) -> int | None:
    modrm = one.modrm
    if one.map != FIRST or one.opcode != 0xFF or modrm is None:
        return None
    return modrm & 7 | (one.rex & 1) << 3 if modrm & 0xF8 in {0xD0, 0xE0} else None
