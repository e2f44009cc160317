"""Have the probes note who creates asynchronous tasks.

A return probe on PyContext_CopyCurrent, which every such task begins with, is attached
to each interpreter's file once. Attached to one process after the other it would leave
the rest of the machine alone, but the kernel holds up every fork while it attaches (5
to 20 ms); so other processes of the same interpreter come upon the probe, and leave it
after 1 us.
"""

import os
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from egressmon.attribution.interpreters import Interpreter

_MAX_WATCHED = 64
T = TypeVar("T")


class ContextProbes(Protocol):
    """The probes, as far as they watch contexts."""

    def watch_contexts(self, path: str, offset: int) -> int:
        """Watch an interpreter; return a descriptor that ends it. Raises OSError."""
        ...


class Contexts:
    """The interpreters that are watched. Closing takes a tenth of a second."""

    def __init__(self, probes: ContextProbes) -> None:
        self._probes = probes
        self._watched: set[tuple[int, int]] = set()
        self._threads: list[threading.Thread] = []
        self._descriptors: list[int] = []

    def watch(self, interpreter: Interpreter | None) -> None:
        """Watch interpreter from now on, or from a moment later on."""
        if interpreter is None or interpreter.context_offset is None:
            return
        if interpreter.file not in self._watched and len(self._watched) < _MAX_WATCHED:
            self._watched.add(interpreter.file)
            self._threads.append(_in_thread(self._attach, interpreter))

    def settle(self) -> None:
        """Return when all that was asked for is done."""
        while self._threads:
            self._threads.pop().join()

    def close(self) -> None:
        """Watch none any longer; it may be over after this returns."""
        self.settle()
        self._watched.clear()
        while self._descriptors:
            _in_thread(os.close, self._descriptors.pop())

    # The process that led to it may be gone; another may come.
    def _attach(self, interpreter: Interpreter) -> None:
        path, offset = interpreter.path, interpreter.context_offset or 0
        try:
            self._descriptors.append(self._probes.watch_contexts(path, offset))
        except OSError:
            self._watched.discard(interpreter.file)


def _in_thread(what: Callable[[T], None], argument: T) -> threading.Thread:
    thread = threading.Thread(target=what, args=(argument,), daemon=True)
    thread.start()
    return thread
