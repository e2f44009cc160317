"""What says which kept descriptors are which, and of which run and probes they are.

It is in a map of our own (`FACTS`), by the kernel's ids, so that it stays as long as
they do.
"""

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from egressmon.probes.engine import Engine
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
    RING,
    ROOT,
)
from egressmon.probes.kernel import bpf, objects
from egressmon.probes.kernel.objects import Kind
from egressmon.probes.loaded import Loaded
from egressmon.probes.loaders import libbpf
from egressmon.probes.wire import CONSTANTS, HEADER
from egressmon.values import dataclass

FACTS = b"egressmon_facts"
"""The name of the map with the facts."""
_MAGIC = b"egressmon kept 1"
PROGRAMS = tuple(one.program for one in (*HOOKS, *FOUND, *FOUND_CGROUPS))
FRAMES_PROGRAMS = tuple(one.program for one in (*FRAMES, *FRAMES_ROOT, COPIED, MADE))
# Those at the scope's own cgroup, which each run has anew, are none of these.
KEPT_HOOKS = (*LIFE, *ROOT, *FOUND, *FOUND_CGROUPS, CALL, RING, *FRAMES, *FRAMES_ROOT)
LINKS = tuple(one.program for one in KEPT_HOOKS)
OPTIONAL = {CALL.program, RING.program, *(one.program for one in FOUND_CGROUPS)}
# In this order, the ids of: programs, maps, programs and maps of frames, links.
NAMES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("program", PROGRAMS),
    ("map", MAPS),
    ("program", FRAMES_PROGRAMS),
    ("map", FRAMES_MAPS),
    ("link", LINKS),
)
_IDS = sum(len(names) for _, names in NAMES)
# Magic, digest of the probes, of the boot, of the scope, the run.
LAYOUT = struct.Struct(f"=16s32s36s32s64s{_IDS}I")
TOLD = struct.Struct(f"={CONSTANTS['COUNT_SLOTS']}Q2Q{len(PROGRAMS)}Q")
SIZE = 4096
SHAPE = objects.array_shape(SIZE, 2)
_BOOT = Path("/proc/sys/kernel/random/boot_id")
SECOND = struct.pack("=I", 1)
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


class Facts:
    """The map that says what belongs together, and what was told of losses so far."""

    def __init__(self, table: int) -> None:
        """Take ownership of the map."""
        self.table = table
        self._told: bytes | None = None

    @classmethod
    def make(cls) -> "Facts":
        """Make an empty one; raises OSError."""
        return cls(objects.make_array(FACTS, SIZE, 2))

    def write(self, engine: Engine, expected: Expected, run: str) -> None:
        """Say that what `engine` has is that of `run`; raises OSError."""
        head = _MAGIC, digest(), _boot(), expected.digest(), run.encode()
        facts = LAYOUT.pack(*head, *_ids(engine))
        bpf.update(self.table, bytes(4), facts.ljust(SIZE, b"\0"))

    def note(self, engine: Engine) -> None:
        """Note the losses that were recorded: those of the call before. Raises OSError.

        Only by the next question is it known that the answer to the last was recorded.
        """
        probes = engine.parts[0]
        counters = Loaded.totals(probes, "counters", CONSTANTS["COUNT_SLOTS"])
        sent = Loaded.totals(probes, "sent", 1, 2)
        skipped = Loaded.skipped(probes)
        numbers = chain(*counters, *sent, (skipped[name] or 0 for name in PROGRAMS))
        told, self._told = self._told, TOLD.pack(*numbers)
        if told is not None:
            bpf.update(self.table, SECOND, told.ljust(SIZE, b"\0"))

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
    for _, names in NAMES:
        found.update(" ".join(names).encode())
    return found.digest()


def run_of(head: tuple[bytes, ...], expected: Expected) -> str:
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


def _ids(engine: Engine) -> Iterator[int]:
    programs = {**engine.parts[0].programs}
    maps = {**engine.parts[0].maps}
    for part in engine.parts[1:]:
        programs |= part.programs
        maps |= part.maps
    links = engine.links
    for kind, names in NAMES:
        for name in names:
            if kind == "program":
                number = name in programs and objects.program_facts(programs[name])[1]
            elif kind == "map":
                number = name in maps and objects.map_facts(maps[name]).id
            else:
                number = name in links and objects.link_facts(links[name]).id
            yield int(number)


def _boot() -> bytes:
    return _BOOT.read_bytes()[:_BOOT_SIZE]
