"""Inspect one file: is it native code, and why could it open connections?"""

import os
import re
import struct
from collections.abc import Callable

from egressmon.files.elf import Elf, ElfError
from egressmon.inspection.budget import Budget, SpentError
from egressmon.inspection.findings import Reason
from egressmon.inspection.imported import CONNECTING, SENDING_ON, imported, looks_up
from egressmon.inspection.libraries import by_symbols, by_texts
from egressmon.inspection.symbols import Imports
from egressmon.inspection.system_calls import system_calls
from egressmon.values import dataclass, field

MAGIC = b"\x7fELF"
_WIDE_AND_LITTLE = b"\x02\x01"
_RELOCATABLE, _CORE = 1, 4  # e_type of what cannot be loaded as it is
_BPF = 247  # e_machine
_NEEDED = (1, 0x7FFFFFFD, 0x7FFFFFFF)  # DT_NEEDED, DT_AUXILIARY, DT_FILTER
_SEARCHED, _SEARCHED_LAST = 29, 15
_MOST_NEEDED = 1024
_MOST_SEARCHED = 1 << 26
_NAMES = re.compile(
    b"\0(?:"
    + b"|".join(sorted(one.encode() for one in CONNECTING | SENDING_ON))
    + b")\0"
)


@dataclass(frozen=True, slots=True)
class Program:
    """What is known of one file of native code."""

    reasons: tuple[Reason, ...] = ()
    needed: tuple[str, ...] = ()
    """The names of the libraries that it is linked to."""
    searched: tuple[str, ...] = ()
    """Where it has these looked for: DT_RUNPATH, or DT_RPATH."""
    problems: tuple[str, ...] = ()
    """Why it was not inspected, or not to its end."""
    names: frozenset[str] = field(default=frozenset[str]())
    """The symbols that it imports."""
    machine: int = 0
    """For which kind of processor it is (e_machine); 0: not known."""
    is_python: bool = False
    """Whether it is a Python interpreter, or holds one."""


def is_native(head: bytes) -> bool:
    """Tell whether a file that begins with `head` can be loaded, or executed.

    Object files, core dumps and programs for BPF cannot.
    """
    if not head.startswith(MAGIC) or len(head) < 20:
        return False
    order = "<" if head[5] == 1 else ">"
    kind, machine = struct.unpack_from(f"{order}HH", head, 16)
    return kind not in {_RELOCATABLE, _CORE} and machine != _BPF


def inspected(descriptor: int, budget: Budget) -> Program:
    """Return what is known of the ELF file at `descriptor`, which is closed.

    Whatever is wrong with it is told in `problems`.
    """
    budget.next_file()
    head = os.pread(descriptor, 20, 0)
    if head[4:6] != _WIDE_AND_LITTLE:
        return _of_another_kind(descriptor)
    try:
        elf = Elf(descriptor)
    except (ElfError, OSError) as error:
        return Program(problems=(f"it is damaged: {error}",))
    try:
        return _Inspection(elf, budget).result()
    finally:
        elf.close()


# What the reader does not know, such as 32-bit code: its names alone are looked for.
def _of_another_kind(descriptor: int) -> Program:
    try:
        data = os.pread(descriptor, _MOST_SEARCHED, 0)
    except OSError as error:
        return Program(problems=(f"it cannot be read: {error.strerror}",))
    finally:
        os.close(descriptor)
    found = sorted({one.strip(b"\0").decode() for one in _NAMES.findall(data)})
    what = "it is no 64-bit little-endian program: names alone were looked for"
    if not found:
        return Program(problems=(what,))
    reason = Reason("imports", f"has the names {', '.join(found)}", sure=False)
    return Program((reason,))


class _Inspection:
    """The inspection of one file; a part that fails leaves the others be."""

    def __init__(self, elf: Elf, budget: Budget) -> None:
        self._elf = elf
        self._budget = budget
        self._reasons: list[Reason] = []
        self._problems: list[str] = []
        self._imports: Imports | None = None

    def result(self) -> Program:
        needed: list[str] = []
        searched: list[str] = []
        for step in (
            self._check,
            self._read_imports,
            self._read_calls,
            self._read_libraries,
        ):
            self._try(step)
        self._try(lambda: self._read_needed(needed, searched))
        return Program(
            tuple(dict.fromkeys(self._reasons)),
            tuple(needed),
            tuple(searched),
            tuple(dict.fromkeys(self._problems)),
            self._imports.names if self._imports is not None else frozenset(),
            self._elf.machine,
            self._is_python(),
        )

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except SpentError as error:
            self._problems.append(f"not to its end: {error}")
        except (ElfError, struct.error, LookupError, OverflowError, OSError) as error:
            self._problems.append(f"it is damaged: {error}")

    # What the readers below would take for the end of the file, or for another place.
    def _check(self) -> None:
        elf, end = self._elf, 0
        for segment in elf.segments:
            if segment.offset + segment.size > elf.file_size:
                raise ElfError("it is cut short")
            if segment.address < end:
                raise ElfError("its segments lie over each other")
            end = segment.address + segment.size
        if elf.dynamic_address and not elf.dynamic:
            raise ElfError("its dynamic section is empty")

    def _read_imports(self) -> None:
        self._imports = Imports(self._elf)
        self._reasons += imported(self._elf, self._imports, self._budget)

    def _read_calls(self) -> None:
        self._reasons += system_calls(self._elf, self._budget)

    def _read_libraries(self) -> None:
        self._reasons += by_symbols(self._elf)
        # Who imports connect has no need to look it up.
        imports = self._imports
        can_look_up = (
            imports is not None and looks_up(imports) and "connect" not in imports.names
        )
        self._reasons += by_texts(self._elf, self._budget, looks_up=can_look_up)

    def _read_needed(self, needed: list[str], searched: list[str]) -> None:
        found = [one for tag in _NEEDED for one in self._elf.strings(tag)]
        if len(found) > _MOST_NEEDED:
            self._problems.append(f"more than {_MOST_NEEDED} libraries are named")
        needed += found[:_MOST_NEEDED]
        places = self._elf.strings(_SEARCHED) or self._elf.strings(_SEARCHED_LAST)
        searched += [one for text in places[:1] for one in text.split(":")[:64]]

    def _is_python(self) -> bool:
        try:
            return self._elf.symbol("Py_BytesMain") is not None
        except (ElfError, struct.error):
            return False
