"""From registers and the top of a stack to the calls that led there."""

import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from egressmon.attribution.native.call_targets import leads_to
from egressmon.attribution.native.cfi_program import CfiError, Row, Rule
from egressmon.attribution.native.expression import ExpressionError, evaluate
from egressmon.attribution.native.images import Image, Images
from egressmon.attribution.native.mappings import AddressSpace, Mapping
from egressmon.files.elf import Elf, ElfError
from egressmon.probes.architecture import Architecture

How: TypeAlias = Literal["instruction", "cfi", "frame-pointer", "scan"]

_MAX_FRAMES = 256
_MAX_SCANNED = 512
_MAX_KNOWN = 1 << 14
_MASK = (1 << 64) - 1
_WORD = struct.Struct("<Q")
_LOWEST = 4096


class Frame(NamedTuple):
    """One call: the code that it is in, and how it was found."""

    address: int
    mapping: Mapping | None
    how: How
    saved_at: int | None
    """Where the stack holds the address, from the stack pointer; None: nowhere."""


@dataclass(frozen=True, slots=True)
class Unwound:
    """The calls, innermost first, and why there are no more (None: the outermost)."""

    frames: list[Frame]
    stopped: str | None


@dataclass(frozen=True, slots=True)
class _Known:
    """What an address is, and its row; without one, why there is none."""

    mapping: Mapping | None
    row: Row | None
    return_register: int | None
    reason: str


_DAMAGE = (CfiError, ElfError, ExpressionError, ArithmeticError, struct.error)


class Stop(Exception):  # noqa: N818 -- an end, not an error
    """The next frame cannot be found; the argument says why."""


class Unwinder:
    """Unwinds stacks of one architecture by the tables in the mapped files."""

    def __init__(self, architecture: Architecture, images: Images) -> None:
        self._architecture = architecture
        self._images = images

    def unwind(
        self, space: AddressSpace, pid: int, words: tuple[int, ...], stack: bytes
    ) -> Unwound:
        """Return the calls of process pid, mapped as space says.

        Words are the kernel's registers at the call, stack is the copy from the stack
        pointer on. Never fails: what cannot be followed ends the walk, with a reason.
        """
        walk = _Walk(self._architecture, self._images, space, pid)
        return walk.run(words, stack)


class _Walk:
    def __init__(
        self,
        architecture: Architecture,
        images: Images,
        space: AddressSpace,
        pid: int,
    ) -> None:
        self._architecture = architecture
        self._images, self._space, self._pid = images, space, pid
        self._sp, self._fp = architecture.stack_pointer, architecture.frame_pointer
        self._can_scan = architecture.call_is_checked
        self._how: How = "instruction"
        self._saved_at: int | None = None
        self._interrupted = True  # the address is the very instruction
        self._guessed = True  # no table has been used yet

    def run(self, words: tuple[int, ...], stack: bytes) -> Unwound:
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
        except _DAMAGE as error:
            return Unwound(frames, f"damaged tables ({error})")
        except KeyError:
            return Unwound(frames, "damaged tables (an unknown register)")
        except LookupError:
            return Unwound(frames, "the end of the stack that was copied")

    def _walk(self, frames: list[Frame]) -> None:
        while len(frames) < _MAX_FRAMES:
            known = self._look_up()
            frames.append(
                Frame(self._address, known.mapping, self._how, self._saved_at)
            )
            if not self._step(known):
                return
        raise Stop(f"more than {_MAX_FRAMES} frames")

    # A return address is behind its call, perhaps in the next function.
    def _look_up(self) -> "_Known":
        key = self._address if self._interrupted else -self._address
        known = self._space.steps.get(key)
        if not isinstance(known, _Known):
            if len(self._space.steps) >= _MAX_KNOWN:
                self._space.steps.clear()
            known = self._space.steps[key] = self._find_out()
        return known

    def _find_out(self) -> "_Known":
        mapping = self._space.find(self._address)
        if mapping is None:
            return _Known(None, None, None, "an address where no code is known to be")
        image = self._images.of(mapping, self._pid)
        if not isinstance(image, Image):
            return _Known(mapping, None, None, image.reason)
        try:
            bias = mapping.start - image.elf.mapped_address(mapping.offset)
            address = self._address if self._interrupted else self._address - 1
            found = image.frames.row(address - bias)
        except _DAMAGE as error:
            return _Known(mapping, None, None, f"damaged tables ({error})")
        if found is None:
            return _Known(mapping, None, None, "no unwind tables")
        return _Known(mapping, *found, "")

    # To the caller's frame; False: there is none above.
    def _step(self, known: "_Known") -> bool:
        if known.mapping is None:
            raise Stop(known.reason)
        if known.row is not None:
            return self._by_table(known.row, known.return_register or 0)
        self._interrupted = False
        if self._by_frame_pointer() or self._by_scan():
            return True
        raise Stop(known.reason)

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
        if frame <= before and self._how != "instruction":
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
        if registers[self._sp] <= before and self._how != "instruction":
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
        word: int = _WORD.unpack_from(self._stack, address - self._base)[0]
        return word

    # Code without tables: compiled at run time, Go, some assembly.
    def _by_frame_pointer(self) -> bool:
        frame = self._registers[self._fp]
        if frame & 7 or not self._registers[self._sp] <= frame <= self._end - 16:
            return False
        outer, address = self._load(frame), self._load(frame + 8)
        if (outer and outer <= frame) or self._space.find(address) is None:
            return False
        self._registers[self._fp] = outer
        self._registers[self._sp] = frame + 16
        self._saved_at = frame + 8 - self._base
        return self._enter(address, "frame-pointer")

    # Only at the innermost end (a libc without tables, as musl).
    def _by_scan(self) -> bool:
        if not self._can_scan or not self._guessed:
            return False
        here = self._located(self._address)
        if here is None:
            return False
        place = self._registers[self._sp] + 7 & ~7
        for at in range(place, min(place + _MAX_SCANNED * 8, self._end - 7), 8):
            address = self._load(at)
            if address >= _LOWEST and self._called_from(address, *here):
                self._registers[self._sp] = at + 8
                self._saved_at = at - self._base
                return self._enter(address, "scan")
        return False

    def _called_from(self, address: int, callee: Elf, place: int) -> bool:
        caller = self._located(address)
        try:
            return caller is not None and leads_to(caller[0], caller[1], callee, place)
        except ElfError:
            return False

    # The file that address is in, and where there.
    def _located(self, address: int) -> tuple[Elf, int] | None:
        mapping = self._space.find(address)
        if mapping is None:
            return None
        image = self._images.of(mapping, self._pid)
        if not isinstance(image, Image):
            return None
        try:
            bias = mapping.start - image.elf.mapped_address(mapping.offset)
        except ElfError:
            return None
        return image.elf, address - bias
