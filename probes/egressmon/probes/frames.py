"""The programs that read Python frames: which interpreters and Contexts they know."""

import struct

from egressmon.probes.hooks import COPIED, MADE
from egressmon.probes.kernel import bpf
from egressmon.probes.loaded import Loaded
from egressmon.probes.wire import CONSTANTS


class FrameProbes:
    """The programs that read Python frames; `Engine` attaches them."""

    def __init__(self, loaded: Loaded, generation: int = 0) -> None:
        """Take ownership of `loaded`; its searches were of `generation` at last."""
        self.loaded = loaded
        self._count = 0
        self._generation = generation

    def add(self, interpreter: bytes) -> bool:
        """Register a build of CPython, a `struct interpreter`, with the probes.

        Returns False if the table is full.
        """
        if self._count >= CONSTANTS["MAX_INTERPRETERS"]:
            return False
        place = struct.pack("=I", self._count)
        self.loaded.update("interpreters", place, interpreter)
        self._count += 1
        self.look_again()
        return True

    def look_again(self) -> None:
        """Have the probes search processes without a known interpreter once more.

        They do so at the process's next call.
        """
        self._generation += 1
        census = struct.pack("=II", self._count, self._generation)
        self.loaded.update("census", bytes(4), census)

    @property
    def context_programs(self) -> tuple[int, int]:
        """The programs that watch_copies() and watch_makers() attach: descriptors."""
        programs = self.loaded.programs
        return programs[COPIED.program], programs[MADE.program]

    def watch_copies(self, path: str, offset: int, pid: int = -1) -> int:
        """Watch for copies of Contexts: attach to the return of a function.

        It is at `offset` in the file `path`. `pid` limits this to one process; -1: all.
        Returns a descriptor that detaches when it is closed. Raises OSError.
        """
        return bpf.attach_to_return(self.context_programs[0], path, offset, pid)

    def watch_makers(self, path: str, offset: int) -> int:
        """Watch for other new Contexts: attach to the return of a function.

        It is at `offset` in the file `path`. Returns a descriptor that detaches when it
        is closed. Raises OSError.
        """
        return bpf.attach_to_return(self.context_programs[1], path, offset)

    def forget_code(self, key: bytes) -> None:
        """Have the probes emit a code object again; `key` is its `struct code_key`."""
        self.loaded.delete("codes", key)
