"""An excerpt of the kernel's BTF for libbpf, which may be kept from run to run.

A wrong offset would blind the probes. So what is kept has the tag of each program as it
was loaded by the kernel's own BTF: the kernel's hash of its instructions, offsets among
them. Where one differs, the excerpt is not used.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from egressmon.probes.hooks import SCOPE, START
from egressmon.probes.kernel import bpf
from egressmon.probes.loaded import Loaded
from egressmon.probes.loaders import obstacles

_FORMAT = b"egressmon kernel types 1"  # another number: what was kept is not read
_NOTES = Path("/sys/kernel/notes")  # with the build id of the running kernel


class KernelTypes(NamedTuple):
    """BTF that holds what the probes ask for, and the tags of programs by name."""

    btf: bytes
    tags: dict[str, str]

    def serve(self, *, frames: bool) -> bool:
        """Tell whether it has the programs; with `frames`, also those of frames."""
        wanted = [SCOPE[0], *([START] if frames else [])]
        return all(hook.program in self.tags for hook in wanted)


USELESS = KernelTypes(b"", {})
"""Says that an excerpt makes other probes here than the kernel's own types."""


def key(*images: bytes) -> str | None:
    """Return a name for the excerpt that compiled objects need on this kernel.

    None if the kernel does not say which build it is, or has no BTF.
    """
    try:
        notes, size = _NOTES.read_bytes(), obstacles.BTF.stat().st_size
    except OSError:
        return None
    if not notes:
        return None
    kernel = f"{size} {' '.join(os.uname()[2:])}".encode()
    parts = _FORMAT, notes, kernel, *images
    digests = b"".join(hashlib.sha256(part).digest() for part in parts)
    return hashlib.sha256(digests).hexdigest()


def tags(*parts: Loaded) -> dict[str, str]:
    """Return the tags of all programs, by name."""
    return {
        name: bpf.tag(descriptor)
        for part in parts
        for name, descriptor in part.programs.items()
    }


def packed(types: KernelTypes) -> bytes:
    """Return `types` as they are kept in a file."""
    content = json.dumps(types.tags).encode() + b"\n" + types.btf
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def unpacked(data: bytes | None) -> KernelTypes | None:
    """Return what `packed` wrote; None if it is missing or damaged."""
    digest, _, content = (data or b"").partition(b"\n")
    if digest != hashlib.sha256(content).hexdigest().encode():
        return None
    line, _, btf = content.partition(b"\n")
    try:
        tags = json.loads(line)
    except ValueError:
        return None
    return KernelTypes(btf, tags) if isinstance(tags, dict) else None


def of_running_kernel(images: list[bytes], known: dict[str, str]) -> KernelTypes:
    """Return an excerpt of the running kernel's BTF; `known` are the programs' tags.

    It takes 0.1 s. Raises OSError or `BtfError`.
    """
    from egressmon.probes.loaders import btf_excerpt  # noqa: PLC0415 -- once a kernel

    names = set[str]().union(*map(btf_excerpt.wanted_by, images))
    return KernelTypes(btf_excerpt.excerpt(obstacles.BTF.read_bytes(), names), known)
