"""In which processes the probes note who creates asynchronous tasks.

A return probe on PyContext_CopyCurrent, which every such task begins with, is attached
to a process as it executes an interpreter, and to what it forks. Other processes of
the machine do not come upon it.
"""

import os
from contextlib import suppress
from typing import Protocol

from egressmon.attribution.interpreters import Interpreter

_MAX_WATCHED = 1024


class ContextProbes(Protocol):
    """The probes, as far as they watch contexts."""

    def watch_contexts(self, pid: int, path: str, offset: int) -> int:
        """Watch pid; return a descriptor that ends it. Raises OSError."""
        ...


class Contexts:
    """The processes that are watched."""

    def __init__(self, probes: ContextProbes) -> None:
        self._probes = probes
        self._watched: dict[int, tuple[Interpreter, int]] = {}

    def executed(self, pid: int, interpreter: Interpreter | None) -> None:
        """Take note that pid runs interpreter now, or something else."""
        known = self._watched.get(pid)
        if known is not None and known[0] is interpreter:
            return
        self.ended(pid)
        if interpreter is not None:
            self._watch(pid, interpreter)

    def forked(self, pid: int, parent: int) -> None:
        """Take note that parent made process pid."""
        known = self._watched.get(parent)
        if known is not None:
            self._watch(pid, known[0])

    def ended(self, pid: int) -> None:
        """Take note that pid is gone."""
        known = self._watched.pop(pid, None)
        if known is not None:
            os.close(known[1])

    def close(self) -> None:
        """Watch no process any longer."""
        for pid in list(self._watched):
            self.ended(pid)

    # A process that is gone already needs none.
    def _watch(self, pid: int, interpreter: Interpreter) -> None:
        if interpreter.context_offset is None or len(self._watched) >= _MAX_WATCHED:
            return
        with suppress(OSError):
            descriptor = self._probes.watch_contexts(
                pid, interpreter.path, interpreter.context_offset
            )
            self._watched[pid] = interpreter, descriptor
