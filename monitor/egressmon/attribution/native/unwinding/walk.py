"""A walk along a stack by unwind tables, from a thread's registers outward.

What is done where a file has none differs by processor: processors/.
"""

import struct
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple, TypeAlias

from egressmon.attribution.native.memory.mappings import Mapping
from egressmon.attribution.native.unwinding.cfi_rows import Row, Rule
from egressmon.attribution.native.unwinding.code_lookup import (
    DAMAGE,
    CodeAt,
    CodeLookup,
)
from egressmon.attribution.native.unwinding.expression import evaluate
from egressmon.files.elf import Elf, ElfError
from egressmon.probes.architecture import Architecture
from egressmon.values import dataclass

How: TypeAlias = Literal["instruction", "cfi", "frame-pointer", "scan"]

_MAX_FRAMES = 256
_MAX_SCANNED = 512
_MASK = (1 << 64) - 1
_WORD = struct.Struct("<Q")
_LOWEST = 4096
_PAGE_BITS = 12  # of what the probes read at once (stack.bpf.h), not the kernel's pages
_NOT_READ = "a page of the stack that was not in memory"


class Frame(NamedTuple):
    """One call frame: the code that it runs, and how the frame was found."""

    address: int
    mapping: Mapping | None
    how: How
    saved_at: int | None
    """Where the stack holds `address` (on arm64 signed), from its pointer; or None."""


@dataclass(frozen=True, slots=True)
class Unwound:
    """The call frames of a stack, innermost first."""

    frames: list[Frame]
    stopped: str | None
    """Why the outermost frames are missing; None if none are."""

    @property
    def ends_outside(self) -> bool:
        """Whether the last address found is in no mapping that is known."""
        return self.frames[-1].mapping is None

    @property
    def chain(self) -> object:
        """What the meaning of the calls depends on: not on their very addresses."""
        return (self.stopped, *((one.mapping, one.how) for one in self.frames))


class Stop(Exception):  # noqa: N818 -- an end, not an error
    """The caller's frame cannot be found; the argument says why."""


class Walk(ABC):
    """A walk along one stack; a subclass knows a processor."""

    def __init__(
        self, architecture: Architecture, code: CodeLookup, missing: int
    ) -> None:
        """`missing` tells which pages of the stack are zeros, as in `Stack`."""
        self._architecture, self._code, self._missing = architecture, code, missing
        self._sp, self._fp = architecture.stack_pointer, architecture.frame_pointer
        self._how: How = "instruction"
        self._saved_at: int | None = None
        self._interrupted = True  # the address is the very instruction
        self._guessed = True  # no table has been used yet

    @staticmethod
    @abstractmethod
    def leads_to(caller: Elf, behind: int, callee: Elf, address: int) -> bool:
        """Tell whether a call leads to the function that `address` is in.

        The call is the instruction before the address `behind` in the file `caller`;
        `address` is in the file `callee`, which may be the same. No for calls through a
        register or through memory that the process fills: their target is not in the
        file. Raises ElfError.
        """

    @abstractmethod
    def _without_table(self, mapping: Mapping) -> bool:
        """Go to the caller of code in `mapping` without a table; False: unknown."""

    def run(self, words: tuple[int, ...], stack: bytes) -> Unwound:
        """Return the calls that led to a thread's state.

        `words` are its registers in the kernel's order, `stack` is a copy of its stack
        from the stack pointer on.
        """
        self._registers = {
            number: words[place]
            for number, place in enumerate(self._architecture.registers)
        }
        self._stack = stack
        self._base = self._registers[self._sp]
        self._end = self._base + len(stack)
        self._address = words[self._architecture.program_counter]
        frames: list[Frame] = []
        try:
            self._walk(frames)
            return Unwound(frames, None)
        except Stop as stop:
            return Unwound(frames, str(stop))
        except DAMAGE as error:
            return Unwound(frames, f"damaged tables ({error})")
        except KeyError:
            return Unwound(frames, "damaged tables (an unknown register)")
        except LookupError:
            return Unwound(frames, "the end of the stack that was copied")

    def _walk(self, frames: list[Frame]) -> None:
        while len(frames) < _MAX_FRAMES:
            here = self._code.at(self._address, is_return=not self._interrupted)
            frames.append(Frame(self._address, here.mapping, self._how, self._saved_at))
            if not self._step(here):
                return
        raise Stop(f"more than {_MAX_FRAMES} frames")

    # To the caller's frame; False: there is none above.
    def _step(self, here: CodeAt) -> bool:
        if here.mapping is None:
            raise Stop(here.reason)
        if here.row is not None:
            return self._by_table(here.row, here.return_register or 0)
        if self._without_table(here.mapping):
            return True
        raise Stop(here.reason)

    def _by_plain_row(self, row: Row, return_register: int) -> bool:
        registers = self._registers
        before = registers[self._sp]
        frame = registers[row.register] + row.offset & _MASK
        base, room = self._base, self._end - self._base - _WORD.size
        address = 0
        found: list[tuple[int, int]] = []
        for number, offset in row.plain or ():
            place = frame + offset - base
            if not 0 <= place <= room:
                raise LookupError
            if self._missing and self._is_missing(place + base):
                raise Stop(_NOT_READ)
            (word,) = _WORD.unpack_from(self._stack, place)
            if number == return_register:
                address, self._saved_at = word, place
            else:
                found.append((number, word))
        for number, word in found:
            registers[number] = word
        registers[self._sp] = frame
        if address == 0:
            return False
        if frame <= before and not self._interrupted:
            raise Stop("the stack goes round")
        self._guessed = False
        self._address, self._how, self._interrupted = address, "cfi", False
        return True

    def _by_table(self, row: Row, return_register: int) -> bool:
        if row.plain is not None:
            return self._by_plain_row(row, return_register)
        registers, before = self._registers, self._registers[self._sp]
        if row.expression is not None:
            frame = evaluate(row.expression, registers, self._load)
        else:
            frame = registers[row.register] + row.offset & _MASK
        rules = row.rules
        back = rules.get(return_register, ("same", 0))
        if back[0] == "undefined":
            return False
        address = self._value(back, return_register, frame)
        found = {
            number: self._value(rule, number, frame)
            for number, rule in rules.items()
            if number != return_register
        }
        self._saved_at = None
        if back[0] == "saved" and isinstance(back[1], int):
            self._saved_at = frame + back[1] - self._base
        registers[self._sp] = frame
        registers.update(found)
        if address == 0:
            return False
        if registers[self._sp] <= before and not self._interrupted:
            raise Stop("the stack goes round")
        self._guessed = False
        return self._enter(address, "cfi", interrupted=row.signal)

    def _enter(self, address: int, how: How, *, interrupted: bool = False) -> bool:
        self._address, self._how, self._interrupted = address, how, interrupted
        return True

    def _value(self, rule: Rule, number: int, frame: int) -> int:
        kind, value = rule
        if isinstance(value, bytes):
            result = evaluate(value, self._registers, self._load, frame)
            return self._load(result) if kind == "saved-expression" else result
        if kind == "saved":
            return self._load(frame + value & _MASK)
        if kind == "offset":
            return frame + value & _MASK
        if kind == "register":
            return self._registers[value]
        if kind == "same":
            return self._registers[number]
        return 0

    def _load(self, address: int) -> int:
        if not self._base <= address <= self._end - _WORD.size:
            raise LookupError
        if self._is_missing(address):
            raise Stop(_NOT_READ)
        return int(_WORD.unpack_from(self._stack, address - self._base)[0])

    # Registers that a signal's handler interrupted may lead below the copy: the handler
    # may have a stack of its own, anywhere.
    def _is_missing(self, address: int) -> bool:
        if address < self._base:
            raise LookupError
        page = (address >> _PAGE_BITS) - (self._base >> _PAGE_BITS)
        return bool(self._missing >> page & 1)

    # Where the return address that is searched for is below, for certain.
    def _scanned_end(self) -> int:
        return self._end

    # Only at the innermost end (a libc without tables, as musl).
    def _by_scan(self) -> bool:
        if not self._guessed:
            return False
        callee = self._code.file_at(self._address)
        if callee is None:
            return False
        place = self._registers[self._sp] + 7 & ~7
        end = min(place + _MAX_SCANNED * 8, self._scanned_end() - 7)
        for at in range(place, end, 8):
            address = 0 if self._is_missing(at) else self._load(at)
            if address >= _LOWEST and self._is_called_from(address, *callee):
                self._registers[self._sp] = at + 8
                self._saved_at = at - self._base
                return self._enter(address, "scan")
        return False

    def _is_called_from(self, address: int, callee: Elf, place: int) -> bool:
        caller = self._code.file_at(address)
        try:
            return caller is not None and self.leads_to(*caller, callee, place)
        except ElfError:
            return False
