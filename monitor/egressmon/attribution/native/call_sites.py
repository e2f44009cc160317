"""Call sites that the probes recognise by a few words of the stack, and do not copy."""

import struct
from collections import OrderedDict
from typing import Protocol, TypeAlias, TypeVar

from egressmon.attribution.native.memory.mappings import AddressSpace, Mapping
from egressmon.attribution.native.unwinding.walk import Frame, Unwound
from egressmon.attribution.result import Attribution
from egressmon.clock import kernel_ns
from egressmon.events.model import Stack
from egressmon.probes.architecture import Architecture
from egressmon.probes.wire import CONSTANTS, LAYOUTS
from egressmon.values import dataclass

MAPPINGS_CHANGED = "the mappings changed as the call was made"

_KEY = LAYOUTS["template_key"]
_WORD = LAYOUTS["template_word"]
_HEAD = struct.Struct("=QQ")
_SAVED = struct.Struct("<Q")
_MAX_WORDS = CONSTANTS["TEMPLATE_WORDS"]
_MAX_KEPT = 4096
_Name = TypeVar("_Name", bytes, int)
_Kept = TypeVar("_Kept")
_Mappings: TypeAlias = tuple[Mapping | None, ...]


class CallSiteMemory(Protocol):
    """The map in which the probes look up the call sites that they recognise."""

    def remember(self, key: bytes, template: bytes) -> None:
        """Have the probes recognise the call site `key` by the words in `template`."""

    def forget(self, key: bytes) -> None:
        """Have the probes copy the stacks of the call site `key` again."""


@dataclass(slots=True)
class CallSite:
    """A call site that the probes may be told to recognise."""

    pid: int
    """The process that called. Another may have the same memory, or have it later."""
    key: bytes
    verified: Unwound
    """The calls that its words prove: no more of the stack is known by them."""
    words: list[tuple[int, int]]
    """Places in the stack, and what must be there for it to be recognised: return
    addresses as they are saved, perhaps signed."""
    view: tuple[int, int]
    """In which mount and user namespaces the process called."""
    found: Attribution | None = None
    """What `verified` means in the address space of the era `era`."""
    era: int = 0
    number: int = 0
    """By which the probes tell of it; 0 if they do not."""
    told_ns: int = 0
    """Since when they do."""

    def calls_in(self, space: AddressSpace) -> Unwound:
        """Return the calls as far as they are known where `space` is what is mapped.

        The code of a call decides where its return address lies. So they are known up
        to the first whose code is not what it was; this one is in what is there now.
        """
        frames: list[Frame] = []
        for frame in self.verified.frames:
            now = space.find(frame.address)
            frames.append(frame._replace(mapping=now))
            if not _is_same(now, frame.mapping):
                return Unwound(frames, MAPPINGS_CHANGED)
        return Unwound(frames, self.verified.stopped)


class CallSites:
    """The call sites that the probes recognise.

    The probes are told of a site at its second call: most sites call once. Both calls
    must be of the same code: of libraries that take turns at one address, the probes
    would recognise what is not there any more.
    """

    def __init__(
        self,
        memory: CallSiteMemory,
        architecture: Architecture | None,
        first: int | None = None,
    ) -> None:
        """`memory` is the probes' map; stacks are from a machine of `architecture`.

        Without an architecture no stack is unwound, and no site recognised. Sites are
        numbered from `first`, by default from the time on: no site has a number of a
        run before, events of whose call sites may be on their way.
        """
        self._memory = memory
        self._architecture = architecture
        self._once: OrderedDict[bytes, _Mappings] = OrderedDict()
        """What was mapped where each site called last."""
        self._told: OrderedDict[bytes, CallSite] = OrderedDict()
        self._known: dict[int, CallSite] = {}
        self._retired: OrderedDict[int, CallSite] = OrderedDict()
        """What the probes recognised until lately: events of it are on their way."""
        self._of_process: dict[int, set[bytes]] = {}
        self._next = kernel_ns() if first is None else first

    def lookup(self, number: int) -> CallSite | None:
        """Return the site that the probes call by `number`; None if it is forgotten."""
        return self._known.get(number) or self._retired.get(number)

    def recurring(self, stack: Stack, unwound: Unwound) -> CallSite | None:
        """Return the call site of `stack` if the probes should recognise it.

        None at its first call since what was mapped there changed, if the probes have
        it already, and if no return address of its frames is in the copied stack.
        """
        if self._architecture is None:
            return None
        key, verified = _key(stack, self._architecture), _verified(unwound)
        now = tuple(frame.mapping for frame in verified.frames)
        before = self._once.get(key)
        _keep(self._once, key, now)
        if before is None or not _continues(now, before) or len(now) < 2:
            return None
        site = CallSite(
            stack.pid,
            key,
            verified,
            _words(stack, verified),
            (stack.mounts, stack.users),
        )
        return None if self._is_told(site, stack.ktime_ns) else site

    # Stacks that were copied before the probes had it are still to come. One that was
    # copied later tells that the probes, who keep a bounded number, dropped it.
    def _is_told(self, site: CallSite, ktime_ns: int) -> bool:
        told = self._told.get(site.key)
        if told is None or ktime_ns > told.told_ns or told.words != site.words:
            return False
        mappings = tuple(frame.mapping for frame in told.verified.frames)
        return _continues(tuple(one.mapping for one in site.verified.frames), mappings)

    def remember(self, site: CallSite, attribution: Attribution, era: int) -> None:
        """Have the probes recognise `site`; its `verified` calls have `attribution`.

        They do in the address space of the `era`.
        """
        if attribution.module is None:
            return  # what is verified does not reach the caller: copy it each time
        self._drop(site.key)
        if len(self._told) >= _MAX_KEPT:
            self._forget(next(iter(self._told)))
        number, self._next = self._next, self._next + 1
        try:
            self._memory.remember(site.key, _template(number, site.words))
        except OSError:
            return  # it is copied, as before
        site.found, site.era, site.number = attribution, era, number
        site.told_ns = kernel_ns()
        self._told[site.key] = self._known[number] = site
        self._of_process.setdefault(site.pid, set()).add(site.key)

    def forget(self, site: CallSite) -> None:
        """Have the stacks of `site` copied again: its mappings changed."""
        if self._told.get(site.key) is site:  # and not a later one
            self._forget(site.key)

    def forget_process(self, pid: int) -> None:
        """Forget the call sites of process `pid`, whose memory is gone."""
        for key in list(self._of_process.get(pid, ())):
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        self._drop(key)
        self._memory.forget(key)

    def _drop(self, key: bytes) -> None:
        site = self._told.pop(key, None)
        if site is None:
            return
        _keep(self._retired, site.number, self._known.pop(site.number))
        keys = self._of_process[site.pid]
        keys.discard(key)
        if not keys:
            del self._of_process[site.pid]


def _template(number: int, words: list[tuple[int, int]]) -> bytes:
    content = b"".join(_WORD.pack(*word) for word in words)
    rest = bytes(_WORD.size * (_MAX_WORDS - len(words)))
    return _HEAD.pack(number, len(words)) + content + rest


def _key(stack: Stack, architecture: Architecture) -> bytes:
    counter = stack.registers[architecture.program_counter]
    top = stack.registers[architecture.registers[architecture.stack_pointer]]
    return _KEY.pack(stack.address_space, counter, top)


def _keep(kept: OrderedDict[_Name, _Kept], key: _Name, value: _Kept) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MAX_KEPT:
        kept.popitem(last=False)


def _is_same(now: Mapping | None, before: Mapping | None) -> bool:
    if now is None or before is None:
        return now is before
    return now is before or now.shows_same(before)


def _continues(now: _Mappings, before: _Mappings) -> bool:
    return len(now) == len(before) and all(
        one is other or (one is not None and other is not None and one.continues(other))
        for one, other in zip(now, before, strict=True)
    )


def _words(stack: Stack, verified: Unwound) -> list[tuple[int, int]]:
    places = [one.saved_at or 0 for one in verified.frames[1:]]
    return [(at, _SAVED.unpack_from(stack.content, at)[0]) for at in places]


# As many frames as have words to verify them by.
def _verified(unwound: Unwound) -> Unwound:
    frames = unwound.frames[:1]
    for frame in unwound.frames[1:]:
        if frame.saved_at is None or len(frames) > _MAX_WORDS:
            return Unwound(frames, "the call site was recognised up to here")
        frames.append(frame)
    return Unwound(frames, unwound.stopped)
