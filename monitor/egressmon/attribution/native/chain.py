"""What a chain of calls means: the calling module, its binding and the route."""

from typing import Literal

from egressmon.attribution.native.chain_modules import (
    Step,
    is_extension,
    is_libc,
    steps_of,
)
from egressmon.attribution.native.memory.mappings import AddressSpace
from egressmon.attribution.native.routes import (
    LIBNODE,
    LIBPYTHON,
    Memory,
    is_nodes_own,
    route_of,
)
from egressmon.attribution.native.unwinding.images import Image, Images
from egressmon.attribution.native.unwinding.walk import Unwound
from egressmon.attribution.result import Language
from egressmon.policy.language.routes import Route
from egressmon.values import dataclass


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
    is_nodes_own: bool = False
    """Whether the caller is Node itself, or a library of the system's that is part of
    it, called by nobody else's code."""

    @property
    def is_bypass(self) -> bool | None:
        """Whether a guard inside the language's runtime misses it; None: unknown."""
        if self.language is None:
            return False
        if self.route == "unknown":
            return None
        if self.language == "node":
            return not self.is_nodes_own
        return self.route != "python-socket"


def read_calls(
    unwound: Unwound, space: AddressSpace, images: Images, pid: int
) -> Calls:
    """Return what `unwound` means in process `pid`, which has mapped `space`."""
    steps = steps_of(unwound.frames, images, pid)
    stopped = unwound.stopped
    caller = next((step for step in steps if not is_libc(step)), None)
    language = _language(space, steps, images, pid)
    if caller is None:
        reason = stopped or "no module but the C library is on the stack"
        return Calls(steps, stopped, None, None, language, "unknown", reason)
    binding = _binding(steps)
    memory = Memory(space, images, pid)
    is_own = language == "node" and is_nodes_own(caller, steps, stopped, memory)
    if is_own is None:
        return Calls(steps, stopped, caller, binding, language, "unknown", stopped)
    route, why_not = route_of(caller, steps, stopped, memory, language)
    return Calls(steps, stopped, caller, binding, language, route, why_not, is_own)


# What the language called: beyond the interpreter are its own callers.
def _binding(steps: list[Step]) -> Step | None:
    for step in steps:
        if is_extension(step):
            return step
        if step.image is not None and (step.image.is_python or step.image.is_node):
            return None
    return None


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
        if LIBPYTHON.fullmatch(name):
            return "python"
        if name.startswith(LIBNODE):
            return "node"
    return ""
