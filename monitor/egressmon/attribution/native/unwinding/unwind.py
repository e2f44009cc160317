"""Unwinding: from registers and the top of a stack to the calls that led there."""

from egressmon.attribution.native.memory.mappings import AddressSpace
from egressmon.attribution.native.unwinding.code_lookup import CodeLookup
from egressmon.attribution.native.unwinding.images import Images
from egressmon.attribution.native.unwinding.processors.x86_64 import X8664Walk
from egressmon.attribution.native.unwinding.walk import Unwound, Walk
from egressmon.probes.architecture import Architecture


def _walk_on(machine: str) -> type[Walk]:
    if machine == "aarch64":
        from egressmon.attribution.native.unwinding.processors.aarch64 import (  # noqa: PLC0415 -- arm64 alone
            Aarch64Walk,
        )

        return Aarch64Walk
    return X8664Walk


class Unwinder:
    """Unwinds stacks of one architecture by the unwind tables of the mapped files."""

    def __init__(self, architecture: Architecture, images: Images) -> None:
        self._architecture = architecture
        self._images = images
        self._walk = _walk_on(architecture.machine)

    def unwind(
        self,
        space: AddressSpace,
        pid: int,
        words: tuple[int, ...],
        stack: bytes,
        missing: int = 0,
    ) -> Unwound:
        """Return the call frames of a thread of process `pid`.

        `space` is what the process has mapped, `words` are the thread's registers in
        the kernel's order, `stack` is a copy of its stack from the stack pointer on, of
        which some pages may be `missing`, as in `Stack`. A frame that cannot be unwound
        ends the list, with a reason.
        """
        code = CodeLookup(space, self._images, pid)
        walk = self._walk(self._architecture, code, missing)
        return walk.run(words, stack)
