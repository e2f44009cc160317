"""By which route a process connects, and whether that is its language's own."""

import re
from typing import Literal

from egressmon.attribution.native.chain_modules import Step, is_libc, is_systems
from egressmon.attribution.native.memory.mappings import AddressSpace
from egressmon.attribution.native.unwinding.images import Image, Images
from egressmon.attribution.result import Language
from egressmon.policy.language.routes import Route
from egressmon.values import dataclass

_SOCKET = re.compile(r"(.*)/lib(?:64)?/python3\.\d+t?/lib-dynload/_socket\.[\w.-]*so")
_INTERPRETER = re.compile(r"(?:s?bin|lib(?:32|64|x32)?(?:/[\w.-]+)?)/[^/]+")
# What Node has inside, and Debian and others beside it: its event loop, which makes all
# its connections, and its resolver.
_PARTS_OF_NODE = re.compile(r"lib(?:uv|cares)\.so\.[\d.]+")
LIBNODE = b"libnode.so"
LIBPYTHON = re.compile(rb"libpython3[\w.]*\.so[\w.]*")
# As node --use-largepages=on leaves it; whether it is a copy cannot be seen.
_IN_PLACE = "code in no file is in the place of the program's own"
_TWO_WAYS = "the interpreter has both _socket and _ctypes built in"


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process has mapped, and the files of that."""

    space: AddressSpace
    images: Images
    pid: int

    def has_interpreter_below(self, folder: str) -> bool:
        """Tell whether a CPython that is mapped, is installed in `folder`."""
        for mapping in self.space:
            name = mapping.path.rpartition(b"/")[2]
            path = mapping.path.decode("utf-8", "surrogateescape")
            if _is_installed_in(folder, path) and (
                LIBPYTHON.fullmatch(name) or mapping == self.space.program
            ):
                image = self.images.of(mapping, self.pid)
                if isinstance(image, Image) and image.is_python:
                    return True
        return False

    def has_node_with(self, library: str) -> bool:
        """Tell whether a Node that is mapped is linked with the file `library`."""
        for mapping in self.space:
            name = mapping.path.rpartition(b"/")[2]
            if name.startswith(LIBNODE) or mapping == self.space.program:
                image = self.images.of(mapping, self.pid)
                if isinstance(image, Image) and _is_node_with(image, library):
                    return True
        return False


def route_of(
    caller: Step,
    steps: list[Step],
    stopped: str | None,
    memory: Memory,
    language: Language | None,
) -> tuple[Route | Literal["unknown"], str | None]:
    """Return by which route `caller` connects, or why that is unknown.

    `steps` is the chain behind the call, and `stopped` why it ends early, if it does.
    """
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
    caller: Step, steps: list[Step], stopped: str | None, memory: Memory
) -> bool | None:
    if caller.image is not None and caller.image.has_socket_module:
        return caller.mapping == memory.space.program or bool(
            LIBPYTHON.fullmatch(caller.mapping.path.rpartition(b"/")[2])
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


def is_nodes_own(
    caller: Step, steps: list[Step], stopped: str | None, memory: Memory
) -> bool | None:
    """Tell whether it is Node itself that connects, in a process that runs Node.

    Where Node's event loop is a library apart, it counts who called that: an addon may,
    too. A thread of its pool is of nobody else. None if the chain of calls is not known
    as far as that.
    """
    if caller.image is not None and caller.image.is_node:
        return True
    if not _is_part_of_node(caller):
        return False
    outer = steps[steps.index(caller) + 1 :]
    others = (one for one in outer if not is_libc(one) and not _is_part_of_node(one))
    user = next(others, None)
    if user is not None:
        return user.image is not None and _is_node_with(user.image, caller.name)
    return None if stopped is not None else memory.has_node_with(caller.name)


def _is_part_of_node(step: Step) -> bool:
    return bool(_PARTS_OF_NODE.fullmatch(step.name)) and is_systems(step.path)


# A file has more numbers in its name than the one that is asked for (libuv.so.1.0.0).
def _is_node_with(image: Image, library: str) -> bool:
    asked = image.needs if image.is_node else ()
    return any(f"{library}.".startswith(f"{name}.") for name in asked)
