"""The modules of a chain of calls, and which of them are the system's own."""

import re

from egressmon.attribution.native.memory.mappings import Mapping
from egressmon.attribution.native.unwinding.images import Image, Images
from egressmon.attribution.native.unwinding.walk import Frame, How
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
_INSTALLED = ("/site-packages/", "/dist-packages/", "/node_modules/")


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


def steps_of(frames: list[Frame], images: Images, pid: int) -> list[Step]:
    """Return the modules that `frames` of process `pid` are in, in their order."""
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


def is_libc(step: Step) -> bool:
    """Tell whether `step` is the system's C library or dynamic loader."""
    return bool(_LIBC.fullmatch(step.name)) and is_systems(step.path)


def is_systems(path: str) -> bool:
    """Tell whether `path` is where a system has its libraries."""
    installed = any(folder in path for folder in _INSTALLED)
    return bool(_SYSTEM.match(path)) and not installed


def is_extension(step: Step) -> bool:
    """Tell whether `step` is a Python extension module or a Node addon."""
    name = step.name
    if _EXTENSION.fullmatch(name):
        return True
    if step.image is None or not name.endswith(".so"):
        return False
    return step.image.defines(f"PyInit_{name.partition('.')[0]}")
