"""What the kernel says of maps, programs and links, however they came to be open.

Structures are those of include/uapi/linux/bpf.h. All functions raise OSError with the
kernel's errno.
"""

import ctypes
import os
import struct
from typing import Literal, NamedTuple, TypeAlias

from egressmon.probes.kernel import bpf

Kind: TypeAlias = Literal["map", "program", "link"]
_KINDS: dict[str, Kind] = {
    "anon_inode:bpf-map": "map",
    "anon_inode:bpf-prog": "program",
    "anon_inode:bpf_link": "link",
    "anon_inode:bpf-link": "link",
}
_MAP_CREATE = 0
_MAP_GET_NEXT_KEY = 4
_OBJ_PIN, _OBJ_GET = 6, 7
_ARRAY = 2  # enum bpf_map_type
CGROUP_LINK = 3
TRACING_LINKS = frozenset({1, 2})
"""Kinds of links of programs at tracepoints: raw ones, and those with types (BTF)."""
# struct bpf_map_info: type, id, sizes of key and value, entries, flags, name.
_MAP_INFO = struct.Struct("=IIIIII16s")
_MAP_INFO_SIZE = 80
# struct bpf_prog_info: type, id.
_PROGRAM_INFO = struct.Struct("=II")
# struct bpf_link_info: type, id, id of the program; of a cgroup's, its id and the hook.
_LINK_INFO = struct.Struct("=III4xQI")
_INFO_SIZE = 64
_NAME_SIZE = 16


class MapShape(NamedTuple):
    """What a map is made as."""

    kind: int
    key: int
    value: int
    entries: int


class MapFacts(NamedTuple):
    """A map as the kernel has it."""

    id: int
    name: bytes
    shape: MapShape


class LinkFacts(NamedTuple):
    """What a link attaches; `cgroup` is 0 where it is detached, or in no cgroup."""

    id: int
    kind: int
    program: int
    cgroup: int
    attach_type: int


def kind_of(descriptor: int) -> Kind | None:
    """Return what is open as `descriptor`; None: something else than those."""
    return _KINDS.get(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 -- text out


def map_facts(descriptor: int) -> MapFacts:
    """Return what the kernel says of a map."""
    info = bpf.information(descriptor, _MAP_INFO_SIZE)[0]
    kind, number, key, value, entries, _, name = _MAP_INFO.unpack_from(info)
    return MapFacts(number, name.rstrip(b"\0"), MapShape(kind, key, value, entries))


def program_facts(descriptor: int) -> tuple[int, int]:
    """Return the type and the id of a program."""
    info = bpf.information(descriptor, _INFO_SIZE)[0]
    kind, number = _PROGRAM_INFO.unpack_from(info)
    return kind, number


def link_facts(descriptor: int) -> LinkFacts:
    """Return what the kernel says of a link."""
    info = bpf.information(descriptor, _INFO_SIZE)[0]
    kind, number, program, cgroup, attach_type = _LINK_INFO.unpack_from(info)
    is_cgroups = kind == CGROUP_LINK
    return LinkFacts(
        number,
        kind,
        program,
        cgroup if is_cgroups else 0,
        attach_type if is_cgroups else 0,
    )


def make_array(name: bytes, size: int, entries: int) -> int:
    """Make an array of `entries` elements, each of `size` bytes; return its map."""
    head = struct.pack("=7I", _ARRAY, 4, size, entries, 0, 0, 0)
    return bpf.call(_MAP_CREATE, head + name[: _NAME_SIZE - 1].ljust(_NAME_SIZE, b"\0"))


def array_shape(size: int, entries: int) -> MapShape:
    """Return the shape of what `make_array` makes."""
    return MapShape(_ARRAY, 4, size, entries)


def clear(table: int) -> None:
    """Remove all elements of a hash map, as far as none are added meanwhile."""
    shape = map_facts(table).shape
    key = ctypes.create_string_buffer(shape.key)
    following = ctypes.create_string_buffer(shape.key)
    before = 0
    for _ in range(2 * shape.entries):
        where = before, ctypes.addressof(following)
        try:
            bpf.call(_MAP_GET_NEXT_KEY, struct.pack("=IxxxxQQ", table, *where))
        except FileNotFoundError:
            break
        if before:
            bpf.delete(table, key.raw)
        key.raw = following.raw
        before = ctypes.addressof(key)
    if before:
        bpf.delete(table, key.raw)


def pin(descriptor: int, path: str) -> None:
    """Pin a map, a program or a link at the new name `path` in a bpffs."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    bpf.call(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), descriptor, 0))


def open_pinned(path: str) -> int:
    """Open what is pinned at `path` in a bpffs."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return bpf.call(_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))
