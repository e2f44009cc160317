"""The bpf(2) system call, as far as the running probes need it.

Attributes are those of union bpf_attr (include/uapi/linux/bpf.h). All functions
raise OSError with the kernel's errno.
"""

import ctypes
import os
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

from egressmon.probes.architecture import this_machine

_MAP_LOOKUP_ELEM = 1
_MAP_UPDATE_ELEM = 2
_RAW_TRACEPOINT_OPEN = 17
_LINK_CREATE = 28


@cache
def _system_call() -> Callable[..., int]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    arguments = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    call.argtypes = arguments
    return call


def _bpf(command: int, attributes: bytes) -> int:
    number = this_machine().bpf_call
    result = _system_call()(number, command, attributes, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


def attach_to_cgroup(program: int, cgroup: int, attach_type: int) -> int:
    """Return a link that holds program on cgroup until it is closed (since 5.7)."""
    attributes = struct.pack("=IIII", program, cgroup, attach_type, 0)
    return _bpf(_LINK_CREATE, attributes)


def attach_to_tracepoint(program: int, name: str) -> int:
    """Return a link that holds program on the tracepoint until it is closed."""
    text = ctypes.create_string_buffer(name.encode())
    attributes = struct.pack("=QII", ctypes.addressof(text), program, 0)
    return _bpf(_RAW_TRACEPOINT_OPEN, attributes)


def update(table: int, key: bytes, value: bytes) -> None:
    """Set the element of map table at key."""
    keys, values = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
    where = ctypes.addressof(keys), ctypes.addressof(values)
    _bpf(_MAP_UPDATE_ELEM, struct.pack("=IxxxxQQQ", table, *where, 0))


def lookup_per_cpu(table: int, slot: int, width: int = 1) -> list[int]:
    """Return slot of per-CPU array table, summed over the CPUs.

    The value is an array of width 64-bit numbers.
    """
    values = (ctypes.c_uint64 * (possible_cpus() * width))()
    key = ctypes.c_uint32(slot)
    where = ctypes.addressof(key), ctypes.addressof(values)
    _bpf(_MAP_LOOKUP_ELEM, struct.pack("=IxxxxQQQ", table, *where, 0))
    return [sum(values[place::width]) for place in range(width)]


@cache
def possible_cpus() -> int:
    """Return how many values an element of a per-CPU map has."""
    # "0-3" or "0,2-5": Documentation/admin-guide/cputopology.rst
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    ranges = (part.partition("-") for part in text.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
