"""Whether what was handed over is what it is said to be: the kernel is asked."""

from collections.abc import Mapping
from typing import NamedTuple

from egressmon.probes.hooks import (
    COPIED,
    FOUND,
    FOUND_CGROUPS,
    FRAMES,
    FRAMES_MAPS,
    FRAMES_ROOT,
    HOOKS,
    MADE,
    MAPS,
    NAMED,
    Hook,
)
from egressmon.probes.kernel import objects
from egressmon.probes.kernel.objects import Kind
from egressmon.probes.loaders import libbpf
from egressmon.probes.loaders.kept_facts import (
    FACTS,
    KEPT_HOOKS,
    NAMES,
    OPTIONAL,
    PROGRAMS,
    SHAPE,
    Expected,
    NotKeptError,
)

_TRACEPOINT_PROGRAMS = frozenset({17, 26})  # raw tracepoints, and with types (BTF)


class Parts(NamedTuple):
    """Descriptors by name, in the order of `NAMES`."""

    programs: dict[str, int]
    maps: dict[str, int]
    frames: dict[str, int]
    frames_maps: dict[str, int]
    links: dict[str, int]


# Returns what is what by kind and id, and the maps that say what the others are.
def sorted_by_id(given: list[int]) -> tuple[dict[tuple[Kind, int], int], list[int]]:
    by_id: dict[tuple[Kind, int], int] = {}
    tables: list[int] = []
    for descriptor in given:
        kind = objects.kind_of(descriptor)
        if kind is None:
            raise NotKeptError("there is something else than maps, programs and links")
        if kind == "map":
            facts = objects.map_facts(descriptor)
            if facts.name == FACTS and facts.shape == SHAPE:
                tables.append(descriptor)
            number = facts.id
        elif kind == "program":
            number = objects.program_facts(descriptor)[1]
        else:
            number = objects.link_facts(descriptor).id
        by_id[kind, number] = descriptor
    return by_id, tables


def named(by_id: Mapping[tuple[Kind, int], int], ids: tuple[int, ...]) -> Parts:
    numbers = iter(ids)
    parts: list[dict[str, int]] = []
    for kind, names in NAMES:
        found: dict[str, int] = {}
        for name, number in zip(names, numbers, strict=False):
            if not number:
                continue
            if (kind, number) not in by_id and kind == "link" and name in OPTIONAL:
                continue  # it was attached later than the others were handed over
            if (kind, number) not in by_id:
                raise NotKeptError(f"one is missing: the {kind} {name}")
            found[name] = by_id[kind, number]
        parts.append(found)
    return Parts(*parts)


def require_maps(maps: Mapping[str, int]) -> None:
    images = libbpf.images()
    expected = libbpf.shapes(images[0], MAPS)
    if maps.keys() != expected.keys():
        expected |= libbpf.shapes(images[1], FRAMES_MAPS)
    for name, shape in expected.items():
        if name not in maps:
            raise NotKeptError(f"one is missing: the map {name}")
        if objects.map_facts(maps[name]).shape != shape:
            raise NotKeptError(f"the map {name} is of another kind or size")


def require_programs(programs: Mapping[str, int]) -> None:
    for hook in (*HOOKS, *FOUND, *FOUND_CGROUPS, *FRAMES, *FRAMES_ROOT, COPIED, MADE):
        if hook.program not in programs:
            if hook.program in PROGRAMS:
                raise NotKeptError(f"one is missing: the program {hook.program}")
            continue
        kind, _ = objects.program_facts(programs[hook.program])
        is_right = kind == hook.program_type
        if hook.tracepoint is not None:
            is_right = kind in _TRACEPOINT_PROGRAMS
        if not is_right:
            raise NotKeptError(f"the program {hook.program} is of another kind")


def require_links(parts: Parts, expected: Expected) -> None:
    programs = {**parts.programs, **parts.frames}
    outside = {one.program for one in (*NAMED, *FRAMES_ROOT)}
    for hook in KEPT_HOOKS:
        name = hook.program
        if name not in parts.links:
            is_needed = name in programs and name not in OPTIONAL
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
