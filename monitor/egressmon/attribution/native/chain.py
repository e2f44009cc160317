"""What a chain of calls means: the calling module, its binding and the route."""

import re
from typing import Literal

from egressmon.attribution.native.memory.mappings import AddressSpace, Mapping
from egressmon.attribution.native.unwinding.images import Image, Images
from egressmon.attribution.native.unwinding.walk import Frame, How, Unwound
from egressmon.attribution.result import Language
from egressmon.policy.language.routes import Route
from egressmon.values import dataclass

# Where a system has its libraries, which root alone can write. Elsewhere, such a name
# is anybody's own.
_SYSTEM = re.compile(
    r"(?:/(?:nix|gnu)/store/[^/]+|/snap/[^/]+/[^/]+)?/(?:usr/)?lib\w*(?:/[\w.-]+){1,4}$"
)
# The C library and the loader: what everybody calls through.
_LIBC = re.compile(
    r"lib(?:c|pthread|resolv|anl|dl|rt|nss_\w+)(?:-\d\.\d+)?\.so(?:\.\d+)?"
    r"|ld-(?:linux[\w-]*|musl-\w+|\d\.\d+)\.so(?:\.\d+)?|libc\.musl-\w+\.so\.\d+"
)
_EXTENSION = re.compile(r".+\.(?:cpython-|abi3\.|pypy)[\w.-]*so|.+\.node")
_SOCKET = re.compile(r"(.*)/lib(?:64)?/python3\.\d+t?/lib-dynload/_socket\.[\w.-]*so")
_INTERPRETER = re.compile(r"(?:s?bin|lib(?:32|64|x32)?(?:/[\w.-]+)?)/[^/]+")
_INSTALLED = ("/site-packages/", "/dist-packages/", "/node_modules/")
_LIBPYTHON = re.compile(rb"libpython3[\w.]*\.so[\w.]*")


# As node --use-largepages=on leaves it; whether it is a copy cannot be seen.
_IN_PLACE = "code in no file is in the place of the program's own"
_TWO_WAYS = "the interpreter has both _socket and _ctypes built in"


@dataclass(frozen=True, slots=True)
class Step:
    """Consecutive call frames in one module."""

    mapping: Mapping
    image: Image | None
    how: How
    """How the innermost of the frames was found."""

    @property
    def path(self) -> str:
        """The module's path as it was mapped; empty for code in no file."""
        if self.mapping.is_unbacked:
            return ""
        return self.mapping.path.decode("utf-8", "backslashreplace")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Calls:
    """The chain of modules behind a system call, innermost first."""

    steps: list[Step]
    stopped: str | None
    """Why the chain ends before its outermost call; None if it does not."""
    caller: Step | None
    """The innermost module that is not the C library."""
    binding: Step | None
    """The extension module or addon through which the language called, if any."""
    language: Language | None
    """The language that the process runs."""
    route: Route | Literal["unknown"]
    route_reason: str | None

    @property
    def is_bypass(self) -> bool | None:
        """Whether a guard inside the language's runtime misses it; None: unknown."""
        if self.language is None:
            return False
        if self.route == "unknown":
            return None
        if self.language == "node":
            return not (self.caller and self.caller.image and self.caller.image.is_node)
        return self.route != "python-socket"


def read_calls(
    unwound: Unwound, space: AddressSpace, images: Images, pid: int
) -> Calls:
    """Return what `unwound` means in process `pid`, which has mapped `space`."""
    steps = _steps(unwound.frames, images, pid)
    stopped = unwound.stopped
    caller = next((step for step in steps if not is_libc(step)), None)
    language = _language(space, steps, images, pid)
    if caller is None:
        reason = stopped or "no module but the C library is on the stack"
        return Calls(steps, stopped, None, None, language, "unknown", reason)
    binding = _binding(steps)
    memory = _Memory(space, images, pid)
    route, why_not = _route(caller, steps, stopped, memory, language)
    return Calls(steps, stopped, caller, binding, language, route, why_not)


@dataclass(frozen=True, slots=True)
class _Memory:
    space: AddressSpace
    images: Images
    pid: int

    def has_interpreter_below(self, folder: str) -> bool:
        """Tell whether a CPython that is mapped, is installed in `folder`."""
        for mapping in self.space:
            name = mapping.path.rpartition(b"/")[2]
            path = mapping.path.decode("utf-8", "surrogateescape")
            if _is_installed_in(folder, path) and (
                _LIBPYTHON.fullmatch(name) or mapping == self.space.program
            ):
                image = self.images.of(mapping, self.pid)
                if isinstance(image, Image) and image.is_python:
                    return True
        return False


def _steps(frames: list[Frame], images: Images, pid: int) -> list[Step]:
    steps: list[Step] = []
    last: tuple[bytes, int, int] | None = None
    for frame in frames:
        mapping = frame.mapping
        if mapping is None or mapping.is_kernels:
            continue
        key = (mapping.path, mapping.device, mapping.inode)
        if key == last and not mapping.is_unbacked:
            continue
        if steps and steps[-1].mapping is mapping:
            continue
        last = key
        image = images.of(mapping, pid)
        found = image if isinstance(image, Image) else None
        steps.append(Step(mapping, found, frame.how))
    return steps


# What the language called: beyond the interpreter are its own callers.
def _binding(steps: list[Step]) -> Step | None:
    for step in steps:
        if is_extension(step):
            return step
        if step.image is not None and (step.image.is_python or step.image.is_node):
            return None
    return None


def is_libc(step: Step) -> bool:
    """Tell whether `step` is the system's C library or dynamic loader."""
    if not _LIBC.fullmatch(step.name) or not _SYSTEM.match(step.path):
        return False
    return not any(folder in step.path for folder in _INSTALLED)


def is_extension(step: Step) -> bool:
    """Tell whether `step` is a Python extension module or a Node addon."""
    name = step.name
    if _EXTENSION.fullmatch(name):
        return True
    if step.image is None or not name.endswith(".so"):
        return False
    return step.image.defines(f"PyInit_{name.partition('.')[0]}")


def _language(
    space: AddressSpace, steps: list[Step], images: Images, pid: int
) -> Language | None:
    if space.language is None:
        space.language = _language_of(space, images, pid)
    if space.language:
        return space.language
    for step in steps:
        if step.image is not None and step.image.is_python:
            return "python"
        if step.image is not None and step.image.is_node:
            return "node"
    return None


def _language_of(
    space: AddressSpace, images: Images, pid: int
) -> Language | Literal[""]:
    if space.program is not None:
        image = images.of(space.program, pid)
        if isinstance(image, Image) and image.is_python:
            return "python"
        if isinstance(image, Image) and image.is_node:
            return "node"
    for mapping in space:
        name = mapping.path.rpartition(b"/")[2]
        if _LIBPYTHON.fullmatch(name):
            return "python"
        if name.startswith(b"libnode.so"):
            return "node"
    return ""


def _route(
    caller: Step,
    steps: list[Step],
    stopped: str | None,
    memory: _Memory,
    language: Language | None,
) -> tuple[Route | Literal["unknown"], str | None]:
    if why_not := _why_not_known(caller, memory.space):
        return "unknown", why_not
    if caller.mapping.is_unbacked:
        return "unbacked", None
    if language == "python":
        is_socket_layer = _is_socket_layer(caller, steps, stopped, memory)
        if is_socket_layer is None:
            return "unknown", stopped
        if is_socket_layer:
            return "python-socket", None
    program = memory.space.program
    if program is not None and caller.mapping.path == program.path:
        return "executable", None
    return "native", None


def _why_not_known(caller: Step, space: AddressSpace) -> str | None:
    if caller.mapping.is_unbacked:
        return _IN_PLACE if space.is_within_program(caller.mapping) else None
    image = caller.image
    if image is not None and image.has_socket_module and image.has_ctypes_module:
        return _TWO_WAYS
    return None


# Whether a file is an interpreter's of the installation in `prefix`, and not only
# somewhere below it, as all of a user's are below the home folder.
def _is_installed_in(prefix: str, path: str) -> bool:
    rest = path.removeprefix(f"{prefix}/")
    return rest != path and _INTERPRETER.fullmatch(rest) is not None


# CPython's own `_socket`: built into the program or libpython, or in the lib-dynload of
# the very interpreter that runs; a package may have a module of that name, too, and
# anybody's library the same symbols. Where the stack is not known
# as far as the interpreter (`gethostbyaddr` has a buffer of 16 KiB there), it is one
# that the process has mapped; None if that is not known either.
def _is_socket_layer(
    caller: Step, steps: list[Step], stopped: str | None, memory: _Memory
) -> bool | None:
    if caller.image is not None and caller.image.has_socket_module:
        return caller.mapping == memory.space.program or bool(
            _LIBPYTHON.fullmatch(caller.mapping.path.rpartition(b"/")[2])
        )
    match = _SOCKET.fullmatch(caller.path)
    if match is None:
        return False
    interpreters = [one for one in steps if one.image and one.image.is_python]
    if any(_is_installed_in(match.group(1), one.path) for one in interpreters):
        return True
    if stopped is None or interpreters:
        return False
    return memory.has_interpreter_below(match.group(1)) or None
