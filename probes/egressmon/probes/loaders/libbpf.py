"""Load the precompiled probes with the system's libbpf, through ctypes.

Signatures are those of libbpf 1.x (`libbpf.so.1`). Of what is used here, 0.5 and later
(`libbpf.so.0`) differ in one way: they return an error as a pointer into the last page
of the address space, not as NULL with errno.
"""

import ctypes
import errno
import os
import struct
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egressmon.probes.architecture import machine
from egressmon.probes.errors import ProbeError
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
    SCOPE,
    WHOLE,
    Hook,
)
from egressmon.probes.loaded import Loaded
from egressmon.probes.loaders import obstacles
from egressmon.probes.loaders.beside import Beside
from egressmon.probes.wire import HEADER, digest
from egressmon.values import dataclass, replace

if TYPE_CHECKING:
    from egressmon.probes.kernel.objects import MapShape

OBJECT_NAME = "egressmon.bpf.o"
FRAMES_OBJECT_NAME = "frames.bpf.o"
# A wheel has those of several machines.
_PROGRAMS = Path(__file__).parents[1] / "programs" / machine()
_SONAMES = ("libbpf.so.1", "libbpf.so.0")
# What is loaded side by side: parts that take the kernel about as long.
_SOCKETS = (*SCOPE, *NAMED)
_PARTS = _SOCKETS, WHOLE, tuple(one for one in HOOKS if one not in {*_SOCKETS, *WHOLE})
_FRAMES_PARTS = FRAMES, (*FRAMES_ROOT, COPIED, MADE)
_FRAMES = (*FRAMES, *FRAMES_ROOT, COPIED, MADE)
_ALL = (*HOOKS, *FOUND, *FOUND_CGROUPS, *_FRAMES)
# struct bpf_object_open_opts of libbpf 0.5: its size, and last `btf_custom_path`.
_OPEN_OPTIONS = struct.Struct("=Q40xQ")
_ERROR_POINTERS = 2**64 - 4095
_POINTER = ctypes.c_void_p
_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, _POINTER)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_object__open_mem": (_POINTER, [ctypes.c_char_p, ctypes.c_size_t, _POINTER]),
    "bpf_object__load": (ctypes.c_int, [_POINTER]),
    "bpf_object__close": (None, [_POINTER]),
    "bpf_object__find_map_by_name": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "bpf_object__find_program_by_name": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "bpf_map__fd": (ctypes.c_int, [_POINTER]),
    "bpf_map__reuse_fd": (ctypes.c_int, [_POINTER, ctypes.c_int]),
    "bpf_map__type": (ctypes.c_uint32, [_POINTER]),
    "bpf_map__key_size": (ctypes.c_uint32, [_POINTER]),
    "bpf_map__value_size": (ctypes.c_uint32, [_POINTER]),
    "bpf_map__max_entries": (ctypes.c_uint32, [_POINTER]),
    "bpf_program__fd": (ctypes.c_int, [_POINTER]),
    "bpf_program__set_autoload": (ctypes.c_int, [_POINTER, ctypes.c_bool]),
    "libbpf_major_version": (ctypes.c_uint32, []),
    "libbpf_minor_version": (ctypes.c_uint32, []),
}


@cache
def library() -> ctypes.CDLL:
    """Return libbpf with its signatures set; raises ProbeError if it is missing."""
    for soname in _SONAMES:
        try:
            found = ctypes.CDLL(soname, use_errno=True)
        except OSError:
            continue
        for name, (result, arguments) in _SIGNATURES.items():
            # These came with 0.6; version() does without them.
            if name.endswith("_version") and not hasattr(found, name):
                continue
            function = getattr(found, name)
            function.restype = result
            function.argtypes = arguments
        found.libbpf_set_print(None)  # or it prints to stderr
        return found
    raise ProbeError(
        "libbpf is not installed",
        "Debian 12, Ubuntu 24.04: apt install libbpf1; "
        "Ubuntu 22.04: apt install libbpf0; Fedora: dnf install libbpf",
    )


def version() -> str:
    """Return libbpf's version as `major.minor`; `0.5` if it cannot tell."""
    found = library()
    if not hasattr(found, "libbpf_major_version"):
        return "0.5"
    return f"{found.libbpf_major_version()}.{found.libbpf_minor_version()}"


def load_object(folder: Path = _PROGRAMS, name: str = OBJECT_NAME) -> bytes:
    """Return the precompiled probes in the file `name` in `folder`.

    Raises ProbeError if they are missing, damaged or of another version.
    """
    try:
        image = (folder / name).read_bytes()
    except OSError as error:
        raise _missing(folder, name) from error
    if digest(HEADER).encode() not in image:
        raise ProbeError(
            f"the compiled probes ({name}) are of another version, or damaged",
            "install egressmon again, or run ./scripts/build-probes in the checkout",
        )
    return image


# A wheel that was unpacked by hand may be another machine's.
def _missing(folder: Path, name: str) -> ProbeError:
    others = sorted(one.parent.name for one in folder.parent.glob(f"*/{name}"))
    what = (
        f"there are only those of {', '.join(others)}" if others else "there are none"
    )
    return ProbeError(
        f"the compiled probes are missing ({folder.name}/{name}; {what})",
        f"install a wheel for {folder.name}, or run ./scripts/build-probes (Debian, "
        "Ubuntu: apt install clang llvm libbpf-dev) in the checkout",
    )


def images(folder: Path = _PROGRAMS) -> list[bytes]:
    """Return all precompiled objects in `folder`; raises ProbeError."""
    return [load_object(folder, name) for name in (OBJECT_NAME, FRAMES_OBJECT_NAME)]


def shapes(image: bytes, names: Iterable[str]) -> "dict[str, MapShape]":
    """Return what the maps `names` of the object in `image` are made as.

    Raises ProbeError, and OSError if it has no such map.
    """
    from egressmon.probes.kernel.objects import MapShape  # noqa: PLC0415 -- a sidecar's

    probes = _opened(image, b"", ())
    try:
        found = {name: _find(probes, "map", name) for name in names}
        return {
            name: MapShape(
                library().bpf_map__type(one),
                library().bpf_map__key_size(one),
                library().bpf_map__value_size(one),
                library().bpf_map__max_entries(one),
            )
            for name, one in found.items()
        }
    finally:
        library().bpf_object__close(probes)


def load(
    folder: Path = _PROGRAMS, types: bytes | None = None, *, found: bool = False
) -> Loaded:
    """Load the precompiled probes in `folder` into the kernel; raises ProbeError.

    `types` is BTF that holds the kernel's types that they ask for; None: the kernel's
    own is read. With `found`, those for a scope that was there before are loaded, too.
    """
    with _as_file(types) as path:
        return _Parts(load_object(folder), path, _parts(found)).loaded()


def _parts(found: bool) -> tuple[tuple[Hook, ...], ...]:  # noqa: FBT001 -- load()'s
    return (*_PARTS, (*FOUND, *FOUND_CGROUPS)) if found else _PARTS


def load_with_frames(
    folder: Path = _PROGRAMS, types: bytes | None = None, *, found: bool = False
) -> tuple[Loaded, Loaded | ProbeError]:
    """Load the probes as `load` does, and the programs that read Python frames.

    Verifying either takes 0.1 s, so they are loaded in parallel. An error of the
    frames' programs is returned in their place.
    """
    with _as_file(types) as path:
        probes = _Parts(load_object(folder), path, _parts(found))
        frames = _load_frames(folder, path, probes.shared.maps)
        try:
            return probes.loaded(), frames
        except ProbeError:
            if isinstance(frames, Loaded):
                frames.close()
            raise


def _load_frames(
    folder: Path, types: bytes, maps: dict[str, int]
) -> Loaded | ProbeError:
    try:
        image = load_object(folder, FRAMES_OBJECT_NAME)
        if not types:  # one reading of the kernel's own is enough
            return _load(_Wanted(image, _FRAMES, FRAMES_MAPS, maps, types))
        return _Parts(image, types, _FRAMES_PARTS, FRAMES_MAPS, maps).loaded()
    except ProbeError as error:
        return error


class _Parts:
    """An object whose maps are loaded at once, and its programs in threads."""

    def __init__(
        self,
        image: bytes,
        types: bytes,
        parts: tuple[tuple[Hook, ...], ...] = _PARTS,
        names: tuple[str, ...] = MAPS,
        maps: dict[str, int] | None = None,
    ) -> None:
        """Begin; `maps` are those that exist already. Raises ProbeError."""
        known = maps or {}
        self.shared = _load(_Wanted(image, (), names, known, types))
        known = {**known, **self.shared.maps}
        if not types:  # as above
            parts = (tuple(chain.from_iterable(parts)),)
        wanted = [_Wanted(image, hooks, (), known, types) for hooks in parts]
        self._parts = [Beside(partial(_load, one)) for one in wanted]

    def loaded(self) -> Loaded:
        """Wait for all of it; raises ProbeError."""
        found: dict[str, int] = {}
        failures: list[ProbeError] = []
        for part in self._parts:
            try:
                found |= part.result().programs
            except ProbeError as error:
                failures.append(error)
        loaded = replace(self.shared, programs=found)
        if failures:
            loaded.close()
            raise failures[0]
        return loaded


# A path by which libbpf can read `types`; empty if there are none.
@contextmanager
def _as_file(types: bytes | None) -> Generator[bytes]:
    if types is None:
        yield b""
        return
    descriptor = os.memfd_create("types")
    try:
        os.write(descriptor, types)
        yield f"/proc/self/fd/{descriptor}".encode()
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Wanted:
    image: bytes
    hooks: tuple[Hook, ...]
    """The programs to load, of those in the object."""
    maps: tuple[str, ...]
    shared: dict[str, int]
    """Maps that exist already, by name: used instead of new ones."""
    types: bytes
    """A file with the kernel's types, or empty."""


# First without a callback for libbpf's messages: it would be called some hundred times
# and wait for the GIL each time, 7 s in all beside a busy thread. If loading fails, it
# is done again with the callback, to learn why.
def _load(wanted: _Wanted) -> Loaded:
    try:
        return _attempt(wanted)
    except ProbeError:
        with _listening() as lines:
            return _attempt(wanted, lines)


def _opened(image: bytes, types: bytes, lines: Sequence[str]) -> int:
    path = ctypes.create_string_buffer(types)
    where = ctypes.addressof(path) if types else 0
    options = _OPEN_OPTIONS.pack(_OPEN_OPTIONS.size, where)
    probes = _call("bpf_object__open_mem", image, len(image), options)
    if not probes:
        raise ProbeError(
            "the compiled probes cannot be read: the file is damaged",
            "install egressmon again, or run ./scripts/build-probes",
            "\n".join(lines),
        )
    return probes


def _attempt(wanted: _Wanted, lines: Sequence[str] = ()) -> Loaded:
    probes = _opened(wanted.image, wanted.types, lines)
    try:
        for name, descriptor in wanted.shared.items():
            found = _call("bpf_object__find_map_by_name", probes, name.encode())
            if found:
                library().bpf_map__reuse_fd(found, descriptor)
        for hook in _ALL:
            if hook not in wanted.hooks and (found := _seek(probes, hook.program)):
                library().bpf_program__set_autoload(found, False)
        code = -library().bpf_object__load(probes)
        if code:
            raise obstacles.refusal(os.strerror(code), "\n".join(lines))
        programs = {
            hook.program: _descriptor(probes, "program", hook.program)
            for hook in wanted.hooks
        }
        maps = {name: _descriptor(probes, "map", name) for name in wanted.maps}
    finally:
        library().bpf_object__close(probes)
    return Loaded("libbpf", version(), programs, maps)


def _call(name: str, *arguments: object) -> int:
    pointer: int = getattr(library(), name)(*arguments) or 0
    return 0 if pointer >= _ERROR_POINTERS else pointer


def _seek(probes: int, program: str) -> int:
    return _call("bpf_object__find_program_by_name", probes, program.encode())


# Duplicated: libbpf closes its own when the object is closed.
def _descriptor(probes: int, kind: str, name: str) -> int:
    return os.dup(getattr(library(), f"bpf_{kind}__fd")(_find(probes, kind, name)))


def _find(probes: int, kind: str, name: str) -> int:
    found = _call(f"bpf_object__find_{kind}_by_name", probes, name.encode())
    if not found:
        raise OSError(errno.ENOENT, f"the compiled probes have no {kind} {name}")
    return found


_VERIFIER_LOG = b"PROG LOAD LOG"
_MAX_VERIFIER_LOG = 1 << 24
_MAX_LINE = 1 << 16
_LISTENER = threading.Lock()
_LISTENERS: list[Any] = []  # never freed: another thread may be calling one


@contextmanager
def _listening() -> Generator[list[str]]:
    """Collect the lines that libbpf and the verifier print in this thread."""
    lines: list[str] = []
    form_text = ctypes.CDLL(None).vsnprintf
    form_text.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, _POINTER]
    here = threading.get_ident()

    def keep(level: int, form: bytes, arguments: int) -> int:
        if level > 1 or threading.get_ident() != here:  # 2: LIBBPF_DEBUG
            return 0
        # A verifier's log comes as one string; its end says why.
        size = _MAX_VERIFIER_LOG if _VERIFIER_LOG in form else 0
        room = ctypes.create_string_buffer(size + _MAX_LINE)
        end = min(max(form_text(room, len(room), form, arguments), 0), len(room) - 1)
        line = bytes(memoryview(room)[max(0, end - _MAX_LINE) : end])
        lines.append(line.decode(errors="backslashreplace").rstrip())
        return 0

    with _LISTENER:
        callback = _PRINT(keep)
        _LISTENERS.append(callback)
        library().libbpf_set_print(callback)
        try:
            yield lines
        finally:
            library().libbpf_set_print(None)
