"""The system calls bpf(2) and perf_event_open(2), as far as the probes need them.

Attributes are those of `union bpf_attr` (include/uapi/linux/bpf.h). Programs, maps,
cgroups and links are descriptors. All functions raise OSError with the kernel's errno.
"""

import ctypes
import fcntl
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from egressmon.probes.architecture import ARCHITECTURES, machine, this_machine
from egressmon.probes.errors import ProbeError

_MAP_LOOKUP_ELEM = 1
_MAP_UPDATE_ELEM = 2
_MAP_DELETE_ELEM = 3
_MAP_GET_NEXT_KEY = 4
_OBJ_GET_INFO_BY_FD = 15
_RAW_TRACEPOINT_OPEN = 17
_MAP_LOOKUP_AND_DELETE_ELEM = 21
_NOEXIST = 1
_LINK_CREATE = 28
_TRACING = 26  # enum bpf_prog_type
# struct perf_event_attr, include/uapi/linux/perf_event.h
_UPROBES = Path("/sys/bus/event_source/devices/uprobe")
_EVENT_SIZE = 112
_RETURNS = 1  # "retprobe" is bit 0 of config
_CLOSE_ON_EXEC = 8
_SET_BPF = 0x40042408
_ENABLE = 0x2400
# struct bpf_prog_info, as of Linux 5.12.
_SKIPPED_AT = 208
_INFO_SIZE = 216
_MAP_INFO_SIZE = 80
# struct bpf_link_info: its kind, two numbers, and what such a link is attached to.
_LINK_INFO = struct.Struct("=III4xQ")
_LINK_INFO_SIZE = 64
_CGROUP_LINK = 3  # enum bpf_link_type


@cache
def _system_call() -> Callable[..., int]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call


@cache
def _number() -> int:
    architecture = this_machine()
    if architecture is None:
        raise ProbeError(
            f"egressmon does not know the architecture {machine()}",
            f"it runs on {', '.join(ARCHITECTURES)}",
        )
    return architecture.bpf_call


def call(command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Call bpf(2) with a `union bpf_attr`, and return what it returns."""
    result = _system_call()(_number(), command, attributes, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


def attach_to_cgroup(program: int, cgroup: int, attach_type: int) -> int:
    """Attach `program` to `cgroup`; it stays until the returned link is closed.

    Needs Linux 5.7.
    """
    attributes = struct.pack("=IIII", program, cgroup, attach_type, 0)
    return call(_LINK_CREATE, attributes)


def attach_to_tracepoint(program: int, name: str) -> int:
    """Attach `program` to the tracepoint `name` until the returned link is closed.

    A `tp_btf` program was loaded for its tracepoint; the kernel then accepts no name.
    """
    (kind,) = struct.unpack_from("=I", information(program, _INFO_SIZE)[0])
    text = ctypes.create_string_buffer(name.encode())
    where = 0 if kind == _TRACING else ctypes.addressof(text)
    return call(_RAW_TRACEPOINT_OPEN, struct.pack("=QII", where, program, 0))


def attach_to_return(program: int, path: str, offset: int, pid: int = -1) -> int:
    """Attach `program` to a function in a file, until the returned event is closed.

    The function begins at `offset` in the file `path`. `program` runs at each return,
    in the process `pid`, or in all (-1).
    """
    kind = int((_UPROBES / "type").read_text())
    name = ctypes.create_string_buffer(os.fsencode(path))
    attribute = bytearray(_EVENT_SIZE)
    struct.pack_into("=IIQ", attribute, 0, kind, _EVENT_SIZE, _RETURNS)
    struct.pack_into("=QQ", attribute, 56, ctypes.addressof(name), offset)
    event = open_event(bytes(attribute), pid, -1 if pid >= 0 else 0, 0)
    try:
        fcntl.ioctl(event, _SET_BPF, program)
        fcntl.ioctl(event, _ENABLE, 0)
    except BaseException:
        os.close(event)
        raise
    return event


def open_event(attribute: bytes, target: int, cpu: int, flags: int) -> int:
    """Open a perf event; `attribute` is a `struct perf_event_attr`.

    `target`, `cpu` and `flags` are as in perf_event_open(2). Raises ProbeError if the
    architecture is not supported.
    """
    architecture = this_machine()
    if architecture is None:
        raise ProbeError("egressmon does not know this architecture", "")
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = (
        ctypes.c_long, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_int,
        ctypes.c_ulong,
    )  # fmt: skip
    result = call(
        architecture.perf_call, attribute, target, cpu, -1, flags | _CLOSE_ON_EXEC
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


def update(table: int, key: bytes, value: bytes) -> None:
    """Set the element of the map `table` at `key`."""
    keys, values = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
    where = ctypes.addressof(keys), ctypes.addressof(values)
    call(_MAP_UPDATE_ELEM, struct.pack("=IxxxxQQQ", table, *where, 0))


def lookup(table: int, key: bytes, size: int) -> bytes:
    """Return the element of the map `table` at `key`, which has `size` bytes."""
    keys, value = ctypes.create_string_buffer(key), ctypes.create_string_buffer(size)
    where = ctypes.addressof(keys), ctypes.addressof(value)
    call(_MAP_LOOKUP_ELEM, struct.pack("=IxxxxQQQ", table, *where, 0))
    return value.raw


def add(table: int, key: bytes, value: bytes) -> None:
    """Set the element of the map `table` at `key`, where there must be none yet."""
    keys, values = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
    where = ctypes.addressof(keys), ctypes.addressof(values)
    call(_MAP_UPDATE_ELEM, struct.pack("=IxxxxQQQ", table, *where, _NOEXIST))


def take(table: int, key: bytes, size: int) -> bytes:
    """Remove the element of the hash map `table` at `key`, and return it: `size` bytes.

    In one step, since Linux 5.14.
    """
    keys, value = ctypes.create_string_buffer(key), ctypes.create_string_buffer(size)
    where = ctypes.addressof(keys), ctypes.addressof(value)
    call(_MAP_LOOKUP_AND_DELETE_ELEM, struct.pack("=IxxxxQQQ", table, *where, 0))
    return value.raw


def next_key(table: int, key: bytes | None, size: int) -> bytes | None:
    """Return the key of `size` bytes behind `key` in the map `table`; None: no more.

    It is the first one if `key` is None, or not in the map.
    """
    at = ctypes.create_string_buffer(key) if key is not None else None
    found = ctypes.create_string_buffer(size)
    where = ctypes.addressof(at) if at is not None else 0, ctypes.addressof(found)
    try:
        call(_MAP_GET_NEXT_KEY, struct.pack("=IxxxxQQQ", table, *where, 0))
    except FileNotFoundError:
        return None
    return found.raw


def delete(table: int, key: bytes) -> None:
    """Remove the element of the map `table` at `key`, if there is one."""
    keys = ctypes.create_string_buffer(key)
    attributes = struct.pack("=IxxxxQ", table, ctypes.addressof(keys))
    with suppress(FileNotFoundError):
        call(_MAP_DELETE_ELEM, attributes)


def element_sizes(table: int) -> tuple[int, int]:
    """Return the sizes of a key and a value of the map `table`, in bytes."""
    # struct bpf_map_info: type, id, key_size, value_size.
    key, value = struct.unpack_from("=II", information(table, _MAP_INFO_SIZE)[0], 8)
    return key, value


def lookup_per_cpu(table: int, slot: int, width: int = 1) -> list[int]:
    """Return element `slot` of the per-CPU array `table`, summed over the CPUs.

    Each CPU's value is an array of `width` 64-bit numbers.
    """
    values = (ctypes.c_uint64 * (possible_cpus() * width))()
    key = ctypes.c_uint32(slot)
    where = ctypes.addressof(key), ctypes.addressof(values)
    call(_MAP_LOOKUP_ELEM, struct.pack("=IxxxxQQQ", table, *where, 0))
    return [sum(values[place::width]) for place in range(width)]


def tag(program: int) -> str:
    """Return the kernel's hash of the instructions of `program`, maps left out."""
    # struct bpf_prog_info: type, id, tag.
    return information(program, _INFO_SIZE)[0][8:16].hex()


def is_attached(link: int) -> bool:
    """Return whether a link's program still runs where it was attached.

    Anybody with rights can detach one from a cgroup (BPF_LINK_DETACH), which has no id
    in it then (bpf_cgroup_link_fill_link_info in kernel/bpf/cgroup.c). Raises OSError.
    """
    kind, _, _, cgroup = _LINK_INFO.unpack_from(information(link, _LINK_INFO_SIZE)[0])
    return bool(kind != _CGROUP_LINK or cgroup)


def skipped_runs(program: int) -> int | None:
    """Return how often the kernel skipped `program`, as it was running on that CPU.

    This is `recursion_misses` of `struct bpf_prog_info`; None before Linux 5.12.
    """
    info, known = information(program, _INFO_SIZE)
    if known < _SKIPPED_AT + 8:
        return None
    return int.from_bytes(info[_SKIPPED_AT : _SKIPPED_AT + 8], sys.byteorder)


def information(descriptor: int, size: int) -> tuple[bytes, int]:
    """Return the kernel's description of a program, a map or a link.

    It has `size` bytes, with zeros behind those that the kernel knows; with it comes
    how many bytes it knows.
    """
    info = ctypes.create_string_buffer(size)
    attributes = ctypes.create_string_buffer(
        struct.pack("=IIQ", descriptor, size, ctypes.addressof(info))
    )
    call(_OBJ_GET_INFO_BY_FD, attributes)
    (known,) = struct.unpack_from("=I", attributes, 4)
    return info.raw, known


@cache
def possible_cpus() -> int:
    """Return the number of possible CPUs: a per-CPU map has a value for each."""
    # "0-3" or "0,2-5": Documentation/admin-guide/cputopology.rst
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    ranges = (part.partition("-") for part in text.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
