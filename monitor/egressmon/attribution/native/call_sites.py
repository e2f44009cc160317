"""Call sites that the probes recognise by a few words of the stack."""

import struct
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Protocol, TypeVar

from egressmon.attribution.native.unwind import Unwound
from egressmon.attribution.result import Attribution
from egressmon.events.model import Stack
from egressmon.probes.architecture import Architecture
from egressmon.probes.wire import CONSTANTS, LAYOUTS

_KEY = LAYOUTS["template_key"]
_WORD = LAYOUTS["template_word"]
_HEAD = struct.Struct("=QQ")
_MAX_WORDS = CONSTANTS["TEMPLATE_WORDS"]
_MAX_KEPT = 4096
_Kept = TypeVar("_Kept", bytes, int)


class Memory(Protocol):
    """The probes' memory of call sites."""

    def remember(self, key: bytes, template: bytes) -> None:
        """Recognise the call site at key from now on."""

    def forget(self, key: bytes) -> None:
        """Recognise it no longer."""


class Templates:
    """What the probes were told to recognise, and what it means.

    A site is told at its second call: most call once. All of a process's are
    forgotten as its mappings change: then the same words may mean other modules. The
    calls before do not count either: who loads and unloads libraries in turns would
    have the probes recognise what is no longer there.
    """

    def __init__(self, memory: Memory, architecture: Architecture | None) -> None:
        """Stacks are from a machine of `architecture`."""
        self._memory = memory
        self._architecture = architecture
        self._once: OrderedDict[bytes, int] = OrderedDict()
        """In which era of its process each site called."""
        self._eras: OrderedDict[int, int] = OrderedDict()
        """Of each process: its last change of mappings, by number among all of them."""
        self._changes = count(1)
        self._known: OrderedDict[int, tuple[int, bytes, Attribution]] = OrderedDict()
        self._told: dict[bytes, tuple[int, list[tuple[int, int]]]] = {}
        """The number and the words that the probes have for each site."""
        self._of_process: dict[int, set[int]] = {}
        self._next = 1

    def find(self, stack: Stack) -> Attribution | None:
        """Return what the recognised call means; None: no longer known."""
        known = self._known.get(stack.template)
        if known is None or known[0] != stack.pid:
            return None
        return known[2]

    def offer(
        self,
        stack: Stack,
        unwound: Unwound,
        judge: Callable[[Unwound], Attribution],
    ) -> None:
        """Have the probes recognise stack's call site, if it called before in this era.

        Judge is asked about as much of the chain as the template's words verify.
        """
        if self._architecture is None:
            return
        counter = stack.registers[self._architecture.program_counter]
        top = stack.registers[
            self._architecture.registers[self._architecture.stack_pointer]
        ]
        key = _KEY.pack(stack.address_space, counter, top)
        era = self._eras.get(stack.pid, 0)
        if self._once.get(key) != era:
            _keep(self._once, key, era)
            return
        verified, words = _verified(unwound)
        # Stacks that were copied before the probes had it are still to come.
        if not words or (key in self._told and self._told[key][1] == words):
            return
        judged = judge(verified)
        if judged.module is None:
            return  # what is verified does not reach the caller: copy it each time
        if len(self._known) >= _MAX_KEPT:
            self._drop(next(iter(self._known)))
        number, self._next = self._next, self._next + 1
        rest = bytes(_WORD.size * (_MAX_WORDS - len(words)))
        content = b"".join(_WORD.pack(*word) for word in words)
        with suppress(OSError):  # then it is copied, as before
            self._memory.remember(key, _HEAD.pack(number, len(words)) + content + rest)
        self._told[key] = number, words
        self._known[number] = stack.pid, key, judged
        self._of_process.setdefault(stack.pid, set()).add(number)

    def forget(self, pid: int) -> None:
        """Have the probes forget process pid's call sites: its mappings changed."""
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
        if self._told.get(key, (0, []))[0] == number:  # and not a later one
            del self._told[key]
            self._memory.forget(key)


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
