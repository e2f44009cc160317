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
from egressmon.attribution.return_probes import may_harm

_MAX_WATCHED = 64
T = TypeVar("T")


class ContextProbes(Protocol):
    """The probes, as far as they watch contexts."""

    def watch_contexts(self, path: str, offset: int, pid: int = -1) -> int:
        """Watch an interpreter in process pid, or in any.

        Returns a descriptor that ends it. Raises OSError.
        """
        ...


class Contexts:
    """The interpreters that are watched. Closing takes a tenth of a second."""

    def __init__(self, probes: ContextProbes) -> None:
        self._probes = probes
        self._watched: set[tuple[int, int]] = set()
        self._refused = ""
        self.failure = ""
        """Why the last one could not be watched; empty: each one was."""
        self._threads: list[threading.Thread] = []
        self._descriptors: list[int] = []

    def try_out(self, own: Interpreter | None) -> str:
        """Find out, with the agent's own interpreter, whether this may do harm.

        Returns why nothing will be watched; empty: it will.
        """
        if own is None or own.context_offset is None:
            return ""
        path, offset = own.path, own.context_offset

        def watch(pid: int) -> int:
            return self._probes.watch_contexts(path, offset, pid)

        if may_harm(os.uname().release, watch):
            self._refused = (
                "return probes kill processes with seccomp filters on this kernel"
            )
        return self._refused

    def watch(self, interpreter: Interpreter | None) -> None:
        """Watch interpreter from now on, or from a moment later on."""
        if interpreter is None or interpreter.context_offset is None or self._refused:
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
        except OSError as error:
            self._watched.discard(interpreter.file)
            self.failure = f"a return probe could not be attached ({error.strerror})"


def _in_thread(what: Callable[[T], None], argument: T) -> threading.Thread:
    thread = threading.Thread(target=what, args=(argument,), daemon=True)
    thread.start()
    return thread
