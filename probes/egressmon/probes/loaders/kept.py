"""Take up the probes that an earlier run left attached, or refuse them with a reason.

What is handed over are descriptors in no order: maps, programs, links, and one map of
our own (`FACTS`) that says which of them are which, by the kernel's ids. Nothing is
believed that the kernel says otherwise.
"""

import hashlib
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from egressmon.probes.engine import Engine, FrameProbes, Kept, Loaded
from egressmon.probes.hooks import (
    CALL,
    COPIED,
    FOUND,
    FOUND_CGROUPS,
    FRAMES,
    FRAMES_MAPS,
    FRAMES_ROOT,
    HOOKS,
    LIFE,
    MADE,
    MAPS,
    NAMED,
    RING,
    ROOT,
    Hook,
)
from egressmon.probes.kernel import bpf, objects
from egressmon.probes.kernel.objects import Kind
from egressmon.probes.loaders import libbpf
from egressmon.probes.wire import CONSTANTS, HEADER
from egressmon.values import dataclass

FACTS = b"egressmon_facts"
"""The name of the map with the facts."""
MAX_DESCRIPTORS = 253  # as many as one message can hand over (SCM_MAX_FD)
_MAGIC = b"egressmon kept 1"
_PROGRAMS = tuple(one.program for one in (*HOOKS, *FOUND, *FOUND_CGROUPS))
_FRAMES = tuple(one.program for one in (*FRAMES, *FRAMES_ROOT, COPIED, MADE))
# Those at the scope's own cgroup, which each run has anew, are none of these.
_KEPT_HOOKS = (*LIFE, *ROOT, *FOUND, *FOUND_CGROUPS, CALL, RING, *FRAMES, *FRAMES_ROOT)
_LINKS = tuple(one.program for one in _KEPT_HOOKS)
_OPTIONAL = {CALL.program, RING.program, *(one.program for one in FOUND_CGROUPS)}
# In this order, the ids of: programs, maps, programs and maps of frames, links.
_NAMES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("program", _PROGRAMS),
    ("map", MAPS),
    ("program", _FRAMES),
    ("map", FRAMES_MAPS),
    ("link", _LINKS),
)
_IDS = sum(len(names) for _, names in _NAMES)
# Magic, digest of the probes, of the boot, of the scope, the run.
_FACTS = struct.Struct(f"=16s32s36s32s64s{_IDS}I")
_TOLD = struct.Struct(f"={CONSTANTS['COUNT_SLOTS']}Q2Q{len(_PROGRAMS)}Q")
_SIZE = 4096
_SHAPE = objects.array_shape(_SIZE, 2)
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_TRACEPOINT_PROGRAMS = frozenset({17, 26})  # raw tracepoints, and with types (BTF)
_CENSUS = struct.Struct("=II")
_SECOND = struct.pack("=I", 1)
_RUN = re.compile(rb"[0-9A-Za-z-]{1,60}", re.ASCII)
_BOOT_SIZE = 36


class NotKeptError(Exception):
    """What was handed over cannot be taken up; the message says why."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What must have been chosen by the run before for this one to go on."""

    scope: bytes
    """What is watched, as any text."""
    root_id: int
    """The id of the hierarchy's root cgroup."""
    watched_id: int
    """The id of the cgroup that is watched."""
    frames: bool
    """Whether Python frames are read."""

    @property
    def is_machine(self) -> bool:
        """Whether that is the whole machine."""
        return self.root_id == self.watched_id

    def digest(self) -> bytes:
        """Return the digest of all of it."""
        numbers = f"{self.root_id} {self.watched_id} {self.frames} ".encode()
        return hashlib.sha256(numbers + self.scope).digest()


@dataclass(frozen=True, slots=True)
class _Base(Loaded):
    """Probes that counted before this run: the counts of before are taken off."""

    counted: dict[str, list[list[int]]]
    were_skipped: dict[str, int]

    def totals(self, table: str, slots: int, width: int = 1) -> list[list[int]]:
        found = Loaded.totals(self, table, slots, width)
        base = self.counted.get(table, [])
        for values, before in zip(found, base, strict=False):
            values[:] = [max(0, a - b) for a, b in zip(values, before, strict=False)]
        return found

    def skipped(self) -> dict[str, int | None]:
        found = Loaded.skipped(self)
        return {
            name: None if one is None else max(0, one - self.were_skipped.get(name, 0))
            for name, one in found.items()
        }


class Facts:
    """The map that says what belongs together, and what was told of losses so far."""

    def __init__(self, table: int) -> None:
        """Take ownership of the map."""
        self.table = table
        self._told: bytes | None = None

    @classmethod
    def make(cls) -> "Facts":
        """Make an empty one; raises OSError."""
        return cls(objects.make_array(FACTS, _SIZE, 2))

    def write(self, engine: Engine, expected: Expected, run: str) -> None:
        """Say that what `engine` has is that of `run`; raises OSError."""
        head = _MAGIC, digest(), _boot(), expected.digest(), run.encode()
        facts = _FACTS.pack(*head, *_ids(engine))
        bpf.update(self.table, bytes(4), facts.ljust(_SIZE, b"\0"))

    def note(self, engine: Engine) -> None:
        """Note the losses that were recorded: those of the call before. Raises OSError.

        Only by the next question is it known that the answer to the last was recorded.
        """
        probes = engine.parts[0]
        counters = Loaded.totals(probes, "counters", CONSTANTS["COUNT_SLOTS"])
        sent = Loaded.totals(probes, "sent", 1, 2)
        skipped = Loaded.skipped(probes)
        numbers = chain(*counters, *sent, (skipped[name] or 0 for name in _PROGRAMS))
        told, self._told = self._told, _TOLD.pack(*numbers)
        if told is not None:
            bpf.update(self.table, _SECOND, told.ljust(_SIZE, b"\0"))

    def close(self) -> None:
        """Close the map."""
        os.close(self.table)


def digest() -> bytes:
    """Return the digest of the events' layout, of the probes, and of their names.

    Raises ProbeError.
    """
    found = hashlib.sha256(HEADER.encode())
    for image in libbpf.images():
        found.update(hashlib.sha256(image).digest())
    for _, names in _NAMES:
        found.update(" ".join(names).encode())
    return found.digest()


def descriptors(engine: Engine) -> list[int]:
    """Return what is to be kept for a later run, without the facts."""
    links = engine.links
    found = [links[name] for name in _LINKS if name in links]
    for part in engine.parts:
        found += [*part.programs.values(), *part.maps.values()]
    return found


def take_up(
    handed: Iterable[int], expected: Expected, now_ns: int
) -> tuple[Engine, Facts] | None:
    """Take ownership of the descriptors `handed`; return an engine made of them.

    None: no run began with them. `now_ns` is the time (CLOCK_BOOTTIME). Raises
    NotKeptError, and ProbeError.
    """
    given = list(handed)
    try:
        return _take_up(given, expected, now_ns)
    except OSError as error:
        raise NotKeptError(f"they cannot be used: {error.strerror}") from error
    finally:
        for descriptor in given:  # what is used was duplicated
            os.close(descriptor)


def _take_up(
    given: list[int], expected: Expected, now_ns: int
) -> tuple[Engine, Facts] | None:
    if len(given) > MAX_DESCRIPTORS:
        raise NotKeptError(f"there are {len(given)} of them")
    by_id, tables = _sorted(given)
    if len(tables) != 1:
        raise NotKeptError(f"{len(tables)} of them say what the others are, and not 1")
    table = tables[0]
    found = _FACTS.unpack_from(bpf.lookup(table, bytes(4), _SIZE))
    if not any(found[0]):
        return None
    run = _run_of(found[:5], expected)
    parts = _named(by_id, found[5:])
    _require_maps({**parts.maps, **parts.frames_maps})
    _require_programs({**parts.programs, **parts.frames})
    _require_links(parts, expected)
    told = _TOLD.unpack_from(bpf.lookup(table, _SECOND, _SIZE))
    engine = _engine(parts, told)
    waiting, again = engine.look_back()
    kept = Kept(
        run=run,
        since_ns=now_ns,
        waiting=waiting,
        again=sum(one or 0 for one in again),
        overwritten=again.count(None),
    )
    engine.take_up(kept, {name: os.dup(one) for name, one in parts.links.items()})
    return engine, Facts(os.dup(table))


# Returns what is what by kind and id, and the maps that say what the others are.
def _sorted(given: list[int]) -> tuple[dict[tuple[Kind, int], int], list[int]]:
    by_id: dict[tuple[Kind, int], int] = {}
    tables: list[int] = []
    for descriptor in given:
        kind = objects.kind_of(descriptor)
        if kind is None:
            raise NotKeptError("there is something else than maps, programs and links")
        if kind == "map":
            facts = objects.map_facts(descriptor)
            if facts.name == FACTS and facts.shape == _SHAPE:
                tables.append(descriptor)
            number = facts.id
        elif kind == "program":
            number = objects.program_facts(descriptor)[1]
        else:
            number = objects.link_facts(descriptor).id
        by_id[kind, number] = descriptor
    return by_id, tables


def _run_of(head: tuple[bytes, ...], expected: Expected) -> str:
    magic, version, boot, scope, name = head
    run = name.rstrip(b"\0")
    for is_right, why in (
        (magic == _MAGIC, "they are of another version of egressmon"),
        (version == digest(), "the probes, or their events, are of another version"),
        (boot == _boot(), "they are of another boot of the machine"),
        (scope == expected.digest(), "something else was watched, or in another way"),
        (_RUN.fullmatch(run), "it is not said of which run they are"),
    ):
        if not is_right:
            raise NotKeptError(why)
    return run.decode()


class _Parts(NamedTuple):
    """Descriptors by name, in the order of `_NAMES`."""

    programs: dict[str, int]
    maps: dict[str, int]
    frames: dict[str, int]
    frames_maps: dict[str, int]
    links: dict[str, int]


def _ids(engine: Engine) -> Iterator[int]:
    programs = {**engine.parts[0].programs}
    maps = {**engine.parts[0].maps}
    for part in engine.parts[1:]:
        programs |= part.programs
        maps |= part.maps
    links = engine.links
    for kind, names in _NAMES:
        for name in names:
            if kind == "program":
                number = name in programs and objects.program_facts(programs[name])[1]
            elif kind == "map":
                number = name in maps and objects.map_facts(maps[name]).id
            else:
                number = name in links and objects.link_facts(links[name]).id
            yield int(number)


def _named(by_id: Mapping[tuple[Kind, int], int], ids: tuple[int, ...]) -> _Parts:
    numbers = iter(ids)
    parts: list[dict[str, int]] = []
    for kind, names in _NAMES:
        found: dict[str, int] = {}
        for name, number in zip(names, numbers, strict=False):
            if not number:
                continue
            if (kind, number) not in by_id and kind == "link" and name in _OPTIONAL:
                continue  # it was attached later than the others were handed over
            if (kind, number) not in by_id:
                raise NotKeptError(f"one is missing: the {kind} {name}")
            found[name] = by_id[kind, number]
        parts.append(found)
    return _Parts(*parts)


def _require_maps(maps: Mapping[str, int]) -> None:
    images = libbpf.images()
    expected = libbpf.shapes(images[0], MAPS)
    if maps.keys() != expected.keys():
        expected |= libbpf.shapes(images[1], FRAMES_MAPS)
    for name, shape in expected.items():
        if name not in maps:
            raise NotKeptError(f"one is missing: the map {name}")
        if objects.map_facts(maps[name]).shape != shape:
            raise NotKeptError(f"the map {name} is of another kind or size")


def _require_programs(programs: Mapping[str, int]) -> None:
    for hook in (*HOOKS, *FOUND, *FOUND_CGROUPS, *FRAMES, *FRAMES_ROOT, COPIED, MADE):
        if hook.program not in programs:
            if hook.program in _PROGRAMS:
                raise NotKeptError(f"one is missing: the program {hook.program}")
            continue
        kind, _ = objects.program_facts(programs[hook.program])
        is_right = kind == hook.program_type
        if hook.tracepoint is not None:
            is_right = kind in _TRACEPOINT_PROGRAMS
        if not is_right:
            raise NotKeptError(f"the program {hook.program} is of another kind")


def _require_links(parts: _Parts, expected: Expected) -> None:
    programs = {**parts.programs, **parts.frames}
    outside = {one.program for one in (*NAMED, *FRAMES_ROOT)}
    for hook in _KEPT_HOOKS:
        name = hook.program
        if name not in parts.links:
            is_needed = name in programs and name not in _OPTIONAL
            if is_needed and not (expected.is_machine and name in outside):
                raise NotKeptError(f"one is missing: the link of {name}")
            continue
        if why := _why_not(hook, parts.links[name], programs.get(name), expected):
            raise NotKeptError(f"the link of {name} {why}")


def _why_not(hook: Hook, link: int, program: int | None, expected: Expected) -> str:
    found = objects.link_facts(link)
    if program is None or found.program != objects.program_facts(program)[1]:
        return "attaches another program"
    if hook.tracepoint is not None:
        is_right = found.kind in objects.TRACING_LINKS
        return "" if is_right else "is of another kind"
    if (found.kind, found.attach_type) != (objects.CGROUP_LINK, hook.attach_type):
        return "is of another kind"
    if not found.cgroup:
        return "was detached meanwhile"
    is_outside = hook.place in {"root", "frames_root"}
    place = expected.root_id if is_outside else expected.watched_id
    return "" if found.cgroup == place else "attaches it elsewhere"


def _engine(parts: _Parts, told: tuple[int, ...]) -> Engine:
    slots = CONSTANTS["COUNT_SLOTS"]
    counted = {
        "counters": [[one] for one in told[:slots]],
        "sent": [list(told[slots : slots + 2])],
    }
    skipped = dict(zip(_PROGRAMS, told[slots + 2 :], strict=True))
    version = libbpf.version()
    programs, maps = _copies(parts.programs), _copies(parts.maps)
    frames = None
    if parts.frames:
        found = Loaded(
            "libbpf", version, _copies(parts.frames), _copies(parts.frames_maps)
        )
        frames = FrameProbes(found, _forget_frames(found))
    objects.clear(maps["templates"])
    loaded = _Base("libbpf", version, programs, maps, counted, skipped)
    engine = Engine(loaded, "attached before", frames)
    if frames is None:
        engine.no_frames = "they were not read before, either"
    return engine


# What was told to the reader before this one, this one does not know. First of all no
# interpreter is known any more; then nothing is added of what is removed.
def _forget_frames(frames: Loaded) -> int:
    census = bpf.lookup(frames.maps["census"], bytes(4), _CENSUS.size)
    generation = (_CENSUS.unpack(census)[1] + 1) % 2**32
    frames.update("census", bytes(4), _CENSUS.pack(0, generation))
    for name in ("pythons", "codes", "contexts", "creators"):
        objects.clear(frames.maps[name])
    return generation


def _copies(found: Mapping[str, int]) -> dict[str, int]:
    return {name: os.dup(one) for name, one in found.items()}


def _boot() -> bytes:
    return _BOOT.read_bytes()[:_BOOT_SIZE]
