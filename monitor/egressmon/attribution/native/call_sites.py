"""Call sites that the probes recognise by a few words of the stack, and do not copy."""

import struct
import time
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from typing import Protocol, TypeVar

from egressmon.attribution.native.unwinding.unwind import Unwound
from egressmon.attribution.result import Attribution
from egressmon.events.model import Stack
from egressmon.probes.architecture import Architecture
from egressmon.probes.wire import CONSTANTS, LAYOUTS

_KEY = LAYOUTS["template_key"]
_WORD = LAYOUTS["template_word"]
_HEAD = struct.Struct("=QQ")
_MAX_WORDS = CONSTANTS["TEMPLATE_WORDS"]
_MAX_KEPT = 4096
_COPIES = 8
_Kept = TypeVar("_Kept", bytes, int)


class CallSiteMemory(Protocol):
    """The map in which the probes look up the call sites that they recognise."""

    def remember(self, key: bytes, template: bytes) -> None:
        """Have the probes recognise the call site `key` by the words in `template`."""

    def forget(self, key: bytes) -> None:
        """Have the probes copy the stacks of the call site `key` again."""


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call site that the probes may be told to recognise."""

    pid: int
    key: bytes
    words: list[tuple[int, int]]
    """Places in the stack, and what must be there for the site to be recognised."""
    verified: Unwound
    """The calls that these words prove: no more of the stack is known by them."""


@dataclass(slots=True)
class _Told:
    """What the probes were told of a call site."""

    number: int
    words: list[tuple[int, int]]
    ktime_ns: int
    copies: int = 0
    """How many of its stacks were copied since."""

    def stands(self, words: list[tuple[int, int]], ktime_ns: int) -> bool:
        """Tell whether the probes have `words` still; its stack was copied then.

        Stacks that were copied before the probes had it may be still to come.
        """
        self.copies += ktime_ns > self.ktime_ns
        return self.words == words and self.copies < _COPIES


class CallSites:
    """The call sites that the probes recognise, and the attribution of each.

    The probes are told of a site at its second call: most sites call once. All sites of
    a process are forgotten when its mappings change, as the same words may then mean
    other modules. Calls before the change do not count either: a process that loads and
    unloads libraries in turns would have the probes recognise what is not there any
    more.
    """

    def __init__(
        self, memory: CallSiteMemory, architecture: Architecture | None
    ) -> None:
        """`memory` is the probes' map; stacks are from a machine of `architecture`.

        Without an architecture no stack is unwound, and no site recognised.
        """
        self._memory = memory
        self._architecture = architecture
        self._once: OrderedDict[bytes, int] = OrderedDict()
        """The era of its process in which each site called last."""
        self._eras: OrderedDict[int, int] = OrderedDict()
        """The era of each process: the number of the last change of its mappings."""
        self._changes = count(1)
        self._known: OrderedDict[int, tuple[int, bytes, Attribution]] = OrderedDict()
        self._told: dict[bytes, _Told] = {}
        """What the probes were told of each site."""
        self._of_process: dict[int, set[int]] = {}
        self._next = 1

    def lookup(self, stack: Stack) -> Attribution | None:
        """Return the attribution of the site that the probes recognised at `stack`.

        None if the site was forgotten in the meantime.
        """
        known = self._known.get(stack.template)
        if known is None or known[0] != stack.pid:
            return None
        return known[2]

    def recurring(self, stack: Stack, unwound: Unwound) -> CallSite | None:
        """Return the call site of `stack` if the probes should recognise it.

        None at its first call since the mappings changed, if the probes have it
        already, and if no return address of its frames is in the copied stack. The
        probes may drop a site (their map keeps the last used ones): then it is returned
        again.
        """
        if self._architecture is None:
            return None
        key = _key(stack, self._architecture)
        era = self._eras.get(stack.pid, 0)
        if self._once.get(key) != era:
            _keep(self._once, key, era)
            return None
        verified, words = _verified(unwound)
        told = self._told.get(key)
        if not words or (told is not None and told.stands(words, stack.ktime_ns)):
            return None
        return CallSite(stack.pid, key, words, verified)

    def remember(self, site: CallSite, attribution: Attribution) -> None:
        """Have the probes recognise `site`; its `verified` calls have `attribution`."""
        if attribution.module is None:
            return  # what is verified does not reach the caller: copy it each time
        if len(self._known) >= _MAX_KEPT:
            self._drop(next(iter(self._known)))
        number, self._next = self._next, self._next + 1
        rest = bytes(_WORD.size * (_MAX_WORDS - len(site.words)))
        content = b"".join(_WORD.pack(*word) for word in site.words)
        head = _HEAD.pack(number, len(site.words))
        try:
            self._memory.remember(site.key, head + content + rest)
        except OSError:
            return  # it is copied, as before, and offered again
        self._told[site.key] = _Told(number, site.words, _now_ns())
        self._known[number] = site.pid, site.key, attribution
        self._of_process.setdefault(site.pid, set()).add(number)

    def forget(self, pid: int) -> None:
        """Forget the call sites of process `pid`: its mappings changed."""
        _keep(self._eras, pid, next(self._changes))
        for number in list(self._of_process.get(pid, ())):
            self._drop(number)

    def _drop(self, number: int) -> None:
        pid, key, _ = self._known.pop(number)
        numbers = self._of_process.get(pid)
        if numbers is not None:
            numbers.discard(number)
            if not numbers:
                del self._of_process[pid]
        told = self._told.get(key)
        if told is not None and told.number == number:  # and not a later one
            del self._told[key]
            self._memory.forget(key)


# By the clock of stacks (`Stack.ktime_ns`).
def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _key(stack: Stack, architecture: Architecture) -> bytes:
    counter = stack.registers[architecture.program_counter]
    top = stack.registers[architecture.registers[architecture.stack_pointer]]
    return _KEY.pack(stack.address_space, counter, top)


def _keep(kept: OrderedDict[_Kept, int], key: _Kept, number: int) -> None:
    kept[key] = number
    kept.move_to_end(key)
    if len(kept) > _MAX_KEPT:
        kept.popitem(last=False)


# As many frames as have words to verify them by.
def _verified(unwound: Unwound) -> tuple[Unwound, list[tuple[int, int]]]:
    frames = unwound.frames[:1]
    words: list[tuple[int, int]] = []
    for frame in unwound.frames[1:]:
        if frame.saved_at is None or len(words) >= _MAX_WORDS:
            return Unwound(frames, "the call site was recognised up to here"), words
        words.append((frame.saved_at, frame.address))
        frames.append(frame)
    return Unwound(frames, unwound.stopped), words
