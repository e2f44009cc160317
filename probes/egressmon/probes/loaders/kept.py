"""Take up the probes that an earlier run left attached, or refuse them with a reason.

What is handed over are descriptors in no order: maps, programs, links, and the map that
says which of them are which (`kept_facts`). Nothing is believed that the kernel says
otherwise.
"""

import os
import struct
from collections.abc import Iterable, Mapping

from egressmon.probes.engine import Engine
from egressmon.probes.frames import FrameProbes
from egressmon.probes.kernel import bpf, objects
from egressmon.probes.loaded import Kept, Loaded
from egressmon.probes.loaders import libbpf
from egressmon.probes.loaders.kept_checks import (
    Parts,
    named,
    require_links,
    require_maps,
    require_programs,
    sorted_by_id,
)
from egressmon.probes.loaders.kept_facts import (
    FACTS,
    LAYOUT,
    LINKS,
    PROGRAMS,
    SECOND,
    SIZE,
    TOLD,
    Expected,
    Facts,
    NotKeptError,
    run_of,
)
from egressmon.probes.wire import CONSTANTS
from egressmon.values import dataclass

__all__ = [
    "FACTS",
    "Expected",
    "Facts",
    "NotKeptError",
    "descriptors",
    "take_up",
]

MAX_DESCRIPTORS = 253  # as many as one message can hand over (SCM_MAX_FD)
_CENSUS = struct.Struct("=II")


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


def descriptors(engine: Engine) -> list[int]:
    """Return what is to be kept for a later run, without the facts."""
    links = engine.links
    found = [links[name] for name in LINKS if name in links]
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
    by_id, tables = sorted_by_id(given)
    if len(tables) != 1:
        raise NotKeptError(f"{len(tables)} of them say what the others are, and not 1")
    table = tables[0]
    found = LAYOUT.unpack_from(bpf.lookup(table, bytes(4), SIZE))
    if not any(found[0]):
        return None
    run = run_of(found[:5], expected)
    parts = named(by_id, found[5:])
    require_maps({**parts.maps, **parts.frames_maps})
    require_programs({**parts.programs, **parts.frames})
    require_links(parts, expected)
    told = TOLD.unpack_from(bpf.lookup(table, SECOND, SIZE))
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


def _engine(parts: Parts, told: tuple[int, ...]) -> Engine:
    slots = CONSTANTS["COUNT_SLOTS"]
    counted = {
        "counters": [[one] for one in told[:slots]],
        "sent": [list(told[slots : slots + 2])],
    }
    skipped = dict(zip(PROGRAMS, told[slots + 2 :], strict=True))
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
    generation = (int(_CENSUS.unpack(census)[1]) + 1) % 2**32
    frames.update("census", bytes(4), _CENSUS.pack(0, generation))
    for name in ("pythons", "codes", "contexts", "creators"):
        objects.clear(frames.maps[name])
    return generation


def _copies(found: Mapping[str, int]) -> dict[str, int]:
    return {name: os.dup(one) for name, one in found.items()}
