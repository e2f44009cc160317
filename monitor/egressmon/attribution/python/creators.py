"""Attach the uprobes that record who creates asynchronous tasks.

Return probes on PyContext_CopyCurrent, which every such task begins with, and on what
else makes Contexts are attached to each interpreter's file once. Attached to one
process after the other they would leave the rest of the machine alone, but the kernel
holds up every fork while it attaches (5 to 20 ms, for one as for three of them); so
other processes of the same interpreter come upon them, and leave each after 1.3 us.
What frees Contexts has none, which would cost half as much again.
"""

import os
from collections import deque
from typing import Protocol

from egressmon.attribution.python.attacher import Attacher, Find
from egressmon.attribution.python.builds import Interpreter, context_places
from egressmon.attribution.python.return_probes import may_harm
from egressmon.files.bounded import open_regular

_MAX_WATCHED = 64


class ContextProbes(Protocol):
    """The part of the probes that watches Contexts."""

    @property
    def context_programs(self) -> tuple[int, int]:
        """The descriptors of the programs that the two functions below attach."""
        ...

    def watch_copies(self, path: str, offset: int, pid: int = -1) -> int:
        """Attach to what copies Contexts, at `offset` of the file at `path`.

        Only the process `pid` is watched; -1: all. Returns a descriptor, which detaches
        as it is closed. Raises OSError.
        """
        ...

    def watch_makers(self, path: str, offset: int) -> int:
        """Attach to what else makes a Context; otherwise as `watch_copies`."""
        ...


class Contexts:
    """The interpreters whose Contexts are watched."""

    def __init__(self, probes: ContextProbes, find: Find = context_places) -> None:
        """`find` returns where in a file Contexts are copied, and where else made."""
        self._probes = probes
        self._find = find
        self._watched: set[tuple[int, int]] = set()
        self._attacher: Attacher | None = None
        self._asked: deque[tuple[int, int]] = deque()
        self._failure = ""

    def begin(self, own: Interpreter | None) -> str:
        """Start the process that attaches, unless uretprobes do harm on this kernel.

        `own` is the agent's interpreter, on which that is tried. Call it before threads
        are started and capabilities dropped. Returns why nothing will be watched, or
        an empty string.
        """
        if own is not None and own.contexts is not None:
            path, copied = own.path, own.contexts[0]

            def watch(pid: int) -> int:
                return self._probes.watch_copies(path, copied, pid)

            if may_harm(os.uname().release, watch):
                self._failure = (
                    "return probes kill processes with seccomp filters on this kernel"
                )
                return self._failure
        try:
            self._attacher = Attacher(
                self._find, self._attach, self._probes.context_programs
            )
        except OSError as error:
            self._fail(error)
        return self._failure

    @property
    def helper(self) -> int | None:
        """The id of the process that attaches, or None if there is none."""
        return self._attacher.pid if self._attacher is not None else None

    def watch(self, interpreter: Interpreter | None) -> None:
        """Ask for the probes of `interpreter`; they are attached a moment later."""
        if interpreter is None or interpreter.contexts is None:
            return
        if interpreter.file in self._watched or len(self._watched) >= _MAX_WATCHED:
            return
        if self._attacher is None:
            return
        try:
            file = open_regular(interpreter.path)
        except OSError:
            return  # it is gone; the next one is watched
        try:
            status = os.fstat(file)
            if (status.st_dev, status.st_ino) == interpreter.file:
                self._attacher.ask(file)
                self._watched.add(interpreter.file)
                self._asked.append(interpreter.file)
        except OSError as error:
            self._fail(error)
        finally:
            os.close(file)

    def settle(self) -> str:
        """Wait until all that was asked for is done; return why something was not."""
        while self._asked:
            self._take_answer(wait=True)
        return self._failure

    @property
    def failure(self) -> str:
        """Why an interpreter could not be watched, so far; empty if all could."""
        while self._asked and self._take_answer(wait=False):
            pass
        return self._failure

    @property
    def is_cut_short(self) -> bool:
        """Whether the process that attaches ended before this was closed."""
        return self._attacher is not None and self._attacher.is_gone()

    def close(self) -> None:
        """Detach from all interpreters, which takes effect 0.1 s later."""
        if self._attacher is not None:
            self._attacher.close()
            self._attacher = None
        self._asked.clear()

    # In the attacher's process, which holds what this opens. Copies come last: what is
    # made where a copy was could be taken for it.
    def _attach(self, path: str, places: tuple[int, ...]) -> None:
        copied, *others = places
        opened: list[int] = []
        try:
            opened.extend(self._probes.watch_makers(path, one) for one in others)
            self._probes.watch_copies(path, copied)
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise

    def _take_answer(self, *, wait: bool) -> bool:
        if self._attacher is None:
            self._asked.clear()
            return False
        try:
            error = self._attacher.answer(wait=wait)
        except OSError as broken:
            self._asked.clear()
            self._fail(broken)
            return False
        if error is None:
            return False
        file = self._asked.popleft()
        if error:
            self._watched.discard(file)
            self._fail(OSError(error, os.strerror(error)))
        return True

    def _fail(self, error: OSError) -> None:
        reason = error.strerror or error
        self._failure = f"a return probe could not be attached ({reason})"
