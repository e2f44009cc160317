"""The system's libbpf, bound by ctypes: the only module that calls it.

Function signatures are those of libbpf 1.x (`libbpf.so.1`); 0.5 and later
(`libbpf.so.0`) differ, for what is used here, only in returning an error as a
pointer in the last page of the address space instead of NULL with errno.
"""

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache
from typing import Any

_SONAMES = ("libbpf.so.1", "libbpf.so.0")
_ERROR_POINTERS = 2**64 - 4095
_POINTER = ctypes.c_void_p
_SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_size_t)
_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, _POINTER)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_object__open_mem": (_POINTER, [ctypes.c_char_p, ctypes.c_size_t, _POINTER]),
    "bpf_object__load": (ctypes.c_int, [_POINTER]),
    "bpf_object__close": (None, [_POINTER]),
    "bpf_object__find_map_by_name": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "bpf_object__find_program_by_name": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "bpf_map__fd": (ctypes.c_int, [_POINTER]),
    "bpf_map__set_max_entries": (ctypes.c_int, [_POINTER, ctypes.c_uint32]),
    "bpf_program__set_autoload": (ctypes.c_int, [_POINTER, ctypes.c_bool]),
    "bpf_program__attach": (_POINTER, [_POINTER]),
    "bpf_program__attach_cgroup": (_POINTER, [_POINTER, ctypes.c_int]),
    "bpf_link__destroy": (ctypes.c_int, [_POINTER]),
    "bpf_map_lookup_elem": (ctypes.c_int, [ctypes.c_int, _POINTER, _POINTER]),
    "bpf_map_update_elem": (
        ctypes.c_int,
        [ctypes.c_int, _POINTER, _POINTER, ctypes.c_uint64],
    ),
    "ring_buffer__new": (_POINTER, [ctypes.c_int, _SAMPLE, _POINTER, _POINTER]),
    "ring_buffer__consume": (ctypes.c_int, [_POINTER]),
    "ring_buffer__epoll_fd": (ctypes.c_int, [_POINTER]),
    "ring_buffer__free": (None, [_POINTER]),
    "libbpf_num_possible_cpus": (ctypes.c_int, []),
    "libbpf_major_version": (ctypes.c_uint32, []),
    "libbpf_minor_version": (ctypes.c_uint32, []),
}


class LibbpfError(OSError):
    """A libbpf call that failed, with the errno that it gave."""

    def __init__(self, code: int, action: str) -> None:
        super().__init__(code, f"{action}: {os.strerror(code)}")
        self.action = action


@cache
def library() -> ctypes.CDLL:
    """Return libbpf with its signatures set; raises OSError where it is missing."""
    for soname in _SONAMES:
        try:
            found = ctypes.CDLL(soname, use_errno=True)
        except OSError:
            continue
        for name, (result, arguments) in _SIGNATURES.items():
            # Version queries came with 0.6; version() copes without them.
            if name.endswith("_version") and not hasattr(found, name):
                continue
            function = getattr(found, name)
            function.restype = result
            function.argtypes = arguments
        return found
    raise OSError(errno.ENOENT, "libbpf is not installed")


def version() -> str:
    """Return libbpf's version as `major.minor`, or `0.5` where it cannot say."""
    found = library()
    if not hasattr(found, "libbpf_major_version"):
        return "0.5"
    return f"{found.libbpf_major_version()}.{found.libbpf_minor_version()}"


class Log:
    """What libbpf and the verifier print, kept instead of written to stderr."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        libc = ctypes.CDLL(None)
        self._format = libc.vsnprintf
        self._format.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_char_p,
            _POINTER,
        ]
        self._callback = _PRINT(self._keep)
        library().libbpf_set_print(self._callback)

    def _keep(self, level: int, form: bytes, arguments: int) -> int:
        if level > 1:  # debug
            return 0
        # A verifier log comes as one string of up to 16 MB; its end says why.
        room = ctypes.create_string_buffer(1 << 16)
        self._format(room, len(room), form, arguments)
        self.lines.append(room.value.decode(errors="backslashreplace").rstrip())
        return 0


def _checked(pointer: int | None, action: str) -> int:
    if pointer is None:
        raise LibbpfError(ctypes.get_errno() or errno.EINVAL, action)
    if pointer >= _ERROR_POINTERS:
        raise LibbpfError(2**64 - pointer, action)
    return pointer


class BpfObject:
    """One loaded probe object: its programs, maps and links. Not thread-safe."""

    def __init__(self, image: bytes) -> None:
        self._lib = library()
        self._image = image  # libbpf reads the ELF image until the load
        self._links: list[int] = []
        self._object = _checked(
            self._lib.bpf_object__open_mem(image, len(image), None), "open object"
        )

    def skip(self, program: str) -> None:
        """Leave program out of the load."""
        self._lib.bpf_program__set_autoload(self._program(program), False)

    def load(self) -> None:
        """Have the kernel verify and take all programs and maps."""
        code = self._lib.bpf_object__load(self._object)
        if code:
            raise LibbpfError(-code, "load probes")

    def resize(self, name: str, entries: int) -> None:
        """Give map name room for entries (bytes for a ring); before `load`."""
        self._lib.bpf_map__set_max_entries(self._map(name), entries)

    def _program(self, name: str) -> int:
        return _checked(
            self._lib.bpf_object__find_program_by_name(self._object, name.encode()),
            f"find program {name}",
        )

    def _map(self, name: str) -> int:
        return _checked(
            self._lib.bpf_object__find_map_by_name(self._object, name.encode()),
            f"find map {name}",
        )

    def map_fd(self, name: str) -> int:
        """Return the file descriptor of map name."""
        return int(self._lib.bpf_map__fd(self._map(name)))

    def attach(self, program: str, cgroup_fd: int | None = None) -> None:
        """Attach program to the cgroup, or where its section says."""
        handle = self._program(program)
        if cgroup_fd is None:
            link = self._lib.bpf_program__attach(handle)
        else:
            link = self._lib.bpf_program__attach_cgroup(handle, cgroup_fd)
        self._links.append(_checked(link, f"attach {program}"))

    def update(self, name: str, key: bytes, value: bytes) -> None:
        """Set one element of map name."""
        code = self._lib.bpf_map_update_elem(self.map_fd(name), key, value, 0)
        if code:
            raise LibbpfError(ctypes.get_errno(), f"update map {name}")

    def lookup_per_cpu(self, name: str, slot: int, width: int = 1) -> list[int]:
        """Return slot of per-CPU array name, summed over the CPUs.

        The value is an array of width 64-bit numbers.
        """
        cpus = self._lib.libbpf_num_possible_cpus()
        values = (ctypes.c_uint64 * (cpus * width))()
        key = slot.to_bytes(4, "little")
        if self._lib.bpf_map_lookup_elem(self.map_fd(name), key, values):
            raise LibbpfError(ctypes.get_errno(), f"read map {name}")
        return [sum(values[place::width]) for place in range(width)]

    def close(self) -> None:
        """Detach everything and free the object."""
        while self._links:
            self._lib.bpf_link__destroy(self._links.pop())
        self._lib.bpf_object__close(self._object)


class Ring:
    """The consumer side of a ring buffer map."""

    def __init__(self, map_fd: int, deliver: Callable[[bytes], bool]) -> None:
        """Call deliver with a copy of each record; False ends that `consume`."""
        self._lib = library()
        string_at = ctypes.string_at

        def sample(_context: int, data: int, size: int) -> int:
            return 0 if deliver(string_at(data, size)) else -errno.EAGAIN

        self._sample = _SAMPLE(sample)
        self._ring = _checked(
            self._lib.ring_buffer__new(map_fd, self._sample, None, None), "open ring"
        )

    def fileno(self) -> int:
        """Return a descriptor that polls readable when the probes wake the reader."""
        return int(self._lib.ring_buffer__epoll_fd(self._ring))

    def consume(self) -> None:
        """Deliver what the ring holds, until it is empty or deliver says stop."""
        code = self._lib.ring_buffer__consume(self._ring)
        if code < 0 and code != -errno.EAGAIN:
            raise LibbpfError(-code, "read ring")

    def close(self) -> None:
        """Free the ring's mappings."""
        self._lib.ring_buffer__free(self._ring)
