"""The executable mappings of a running process, as /proc/PID/maps has them."""

import os

from egressmon import files
from egressmon.attribution.native.memory.mappings import (
    MAX_MAPPINGS,
    AddressSpace,
    Mapping,
)

_MAX_MAPS = 1 << 24


def read_address_space(pid: int) -> AddressSpace | None:
    """Return what process `pid` has mapped now, or None if /proc does not tell."""
    try:
        space = parse_maps(files.read(f"/proc/{pid}/maps", _MAX_MAPS))
        program, _ = files.program_of(pid)
    except OSError:
        return None
    space.set_program(program)
    return space


def parse_maps(text: bytes) -> AddressSpace:
    """Return the executable mappings in `text`, a /proc/PID/maps (proc_pid_maps(5))."""
    space = AddressSpace()
    for line in text.splitlines()[:MAX_MAPPINGS]:
        words = line.split(None, 5)
        if len(words) < 5 or b"x" not in words[1]:
            continue
        start, _, end = words[0].partition(b"-")
        path = words[5] if len(words) > 5 else b""
        try:
            mapping = Mapping(
                int(start, 16), int(end, 16), int(words[2], 16), path,
                _device(words[3]), int(words[4]), 0,
            )  # fmt: skip
        except ValueError:
            continue
        space.add(mapping)
    return space


def _device(text: bytes) -> int:
    major, _, minor = text.partition(b":")
    return os.makedev(int(major, 16), int(minor, 16))
