"""Which file's code lies where in the memory of one process."""

import bisect
from collections.abc import Iterator
from itertools import count
from typing import Literal, NamedTuple

from egressmon.attribution.result import Attribution

MAX_MAPPINGS = 1 << 16
"""What one process may have mapped; more are not looked at."""
_MAX_CHAINS = 1024
_UNBACKED = (b"//", b"[heap]", b"[stack", b"[anon", b"/memfd:", b"/dev/zero", b"/SYSV")
_KERNELS = (b"[vdso]", b"[vsyscall]", b"[uprobes]")
_ERAS = count(1)
GUARD_MARK = b"/memfd:egressmon-guard:"
"""How the file is called that egressmon.guard maps, for the kernel to tell of it."""


class Mapping(NamedTuple):
    """Executable memory from `start` up to `end`, and the file that it shows."""

    start: int
    end: int
    offset: int
    """Where in the file the byte at `start` is."""
    path: bytes
    device: int
    inode: int
    since_ns: int
    """When it was mapped; 0 if it was found in /proc later."""

    @property
    def is_unbacked(self) -> bool:
        """Whether the code is in no file: compiled at run time, or injected."""
        return not self.path or self.path.startswith(_UNBACKED)

    @property
    def is_kernels(self) -> bool:
        """Whether the kernel itself put the code there."""
        return self.path in _KERNELS

    def shows_same(self, other: "Mapping") -> bool:
        """Tell whether `other` has the same code wherever the two overlap.

        What is in no file has no name: it is the same as anything in no file.
        """
        if self.is_unbacked or other.is_unbacked:
            return self.is_unbacked and other.is_unbacked
        return self.content == other.content

    def continues(self, other: "Mapping") -> bool:
        """Tell whether this is what is left of `other`, which never was unmapped."""
        if not self.shows_same(other):
            return False
        return self.is_unbacked or self.since_ns == other.since_ns

    @property
    def content(self) -> tuple[bytes, int, int, int]:
        """Which bytes of which file are at each address."""
        return self.path, self.device, self.inode, self.start - self.offset


class AddressSpace:
    """The executable mappings of one process."""

    def __init__(self) -> None:
        self.era = next(_ERAS)
        """A number that no other address space has, nor this one once it changed."""
        self._starts: list[int] = []
        self._mappings: list[Mapping] = []
        self.steps: dict[int, object] = {}
        """What the unwinder found at addresses, until the mappings change."""
        self._chains: dict[object, Attribution] = {}
        self.program: Mapping | None = None
        """The program that was executed: the kernel maps it before anything else."""
        self.language: Literal["python", "node", ""] | None = None
        """The language that the process runs.

        Empty for neither; None if it was not looked for since the last mapping.
        """
        self.guard: Literal["here", "ancestor"] | None = None
        """As in `Attribution`."""

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._mappings)

    def set_program(self, path: bytes) -> None:
        """Take the first mapping of `path` for the program that was executed."""
        found = (mapping for mapping in self._mappings if mapping.path == path)
        self.program = next(found, self.program)

    def is_within_program(self, mapping: Mapping) -> bool:
        """Tell whether `mapping` is in the middle of the program's own code."""
        before, after = self.find(mapping.start - 1), self.find(mapping.end)
        if before is None or after is None or self.program is None:
            return False
        return before.shows_same(after) and before.path == self.program.path

    def find(self, address: int) -> Mapping | None:
        """Return the mapping that `address` is in, or None."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        mapping = self._mappings[index]
        return mapping if address < mapping.end else None

    def recall(self, chain: object) -> Attribution | None:
        """Return what `chain` meant when it was met before, with these mappings."""
        return self._chains.get(chain)

    def remember(self, chain: object, attribution: Attribution) -> None:
        """Keep what `chain` means until the mappings change."""
        if len(self._chains) >= _MAX_CHAINS:
            self._chains.clear()
        self._chains[chain] = attribution

    def copy(self) -> "AddressSpace":
        """Return an independent copy, as a forked child has it."""
        twin = AddressSpace()
        twin._starts = self._starts.copy()
        twin._mappings = self._mappings.copy()
        twin.program, twin.language = self.program, self.language
        twin.guard = self.guard
        return twin

    def replaced(self) -> "AddressSpace":
        """Return what the process has after it has executed a program: nothing yet."""
        other = AddressSpace()
        other.guard = "ancestor" if self.guard is not None else None
        return other

    def add(self, new: Mapping) -> bool:
        """Map `new` over whatever was there; return False if there are too many."""
        self.era = next(_ERAS)
        self.steps.clear()
        self._chains.clear()
        if self.program is None and not new.is_kernels:
            self.program = new
        if self.language == "":
            self.language = None
        if new.path.startswith(GUARD_MARK):
            self.guard = "here"
        first = bisect.bisect_right(self._starts, new.start)
        if first and self._mappings[first - 1].end > new.start:
            first -= 1
        last = bisect.bisect_left(self._starts, new.end, first)
        if first == last:  # as most: nothing was there
            self._mappings.insert(first, new)
            self._starts.insert(first, new.start)
            return len(self._mappings) <= MAX_MAPPINGS
        pieces = [
            piece
            for old in self._mappings[first:last]
            for piece in (
                _part(old, old.start, new.start),
                _part(old, new.end, old.end),
            )
            if piece is not None
        ]
        pieces.append(new)
        pieces.sort(key=lambda mapping: mapping.start)
        if len(self._mappings) + len(pieces) > MAX_MAPPINGS:
            return False
        self._mappings[first:last] = pieces
        self._starts[first:last] = [piece.start for piece in pieces]
        return True


def _part(old: Mapping, start: int, end: int) -> Mapping | None:
    start, end = max(start, old.start), min(end, old.end)
    if start >= end:
        return None
    return Mapping(
        start,
        end,
        old.offset + start - old.start,
        old.path,
        old.device,
        old.inode,
        old.since_ns,
    )
