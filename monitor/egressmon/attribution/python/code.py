"""Which Python code, and which test, is behind a connection."""

import sys
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from egressmon.attribution.packages.lookup import Packages, Place
from egressmon.attribution.python.creators import ContextProbes, Contexts
from egressmon.attribution.python.frames import PythonFrames, Walk
from egressmon.attribution.python.interpreters import Finder, Interpreters
from egressmon.attribution.python.running_test import running_test
from egressmon.events.model import (
    FLAG_FRAMES_LOST,
    FLAG_OWNERLESS,
    CodeObject,
    Forked,
    Frames,
    Traffic,
)
from egressmon.evidence.code_records import CodeRecord, FrameRecord, PackageRecord
from egressmon.evidence.stacks import Stacks
from egressmon.files.roots import root_of
from egressmon.probes.kernel.sideband import SideRecord

_MAX_WAITING = 4096


@dataclass(frozen=True, slots=True)
class NoFrames:
    """Why there are no Python frames of a call."""

    reason: str
    may_be_python: bool = True
    """Whether there may have been some all the same."""


@dataclass(slots=True)
class _Call:
    walk: Walk
    thread_ns: int
    levels: list[list[FrameRecord]] = field(default_factory=list[list[FrameRecord]])
    """Where its task was created, where that one was, and so on."""
    creators_end: str | None = None
    creators_unseen: bool = False

    @property
    def creators(self) -> list[FrameRecord]:
        return [frame for level in self.levels for frame in level]


class FrameMemory(Finder, ContextProbes, Protocol):
    """The probes' memory of interpreters and code objects."""

    def forget_code(self, key: bytes) -> None:
        """Tell of that code object again."""


class PythonCode:
    """Keeps what frames said until the connections that they belong to arrive."""

    def __init__(self, memory: FrameMemory, packages: Packages) -> None:
        """Memory is the probes'."""
        self.no_creators = ""
        """Why the creators of tasks are not noted; empty: they are."""
        self._packages = packages
        self._frames = PythonFrames(memory.forget_code)
        self._stacks = Stacks()
        self._interpreters = Interpreters(memory)
        self._contexts = Contexts(memory)
        self._roots: dict[int, str] = {}
        """Where processes had their root folder as they last executed something."""
        self._waiting: OrderedDict[tuple[int, int], _Call] = OrderedDict()

    def begin(self) -> None:
        """Start what takes rights that will be given up."""
        own = self._interpreters.consider(sys.executable)
        self.no_creators = self._contexts.begin(own)

    @property
    def helper(self) -> int | None:
        """The id of the process that attaches probes; None: there is none."""
        return self._contexts.helper

    def prepare(self, command: Iterable[bytes], path: bytes) -> None:
        """Know what command, looked for in path, may run."""
        self._contexts.watch(self._interpreters.prepare(command, path))

    def settle(self) -> None:
        """Return when all that prepare() began is done."""
        self.no_creators = self._contexts.settle()

    @property
    def is_cut_short(self) -> bool:
        """Whether the creators of tasks were no longer noted at some time."""
        return self._contexts.is_cut_short

    def close(self) -> None:
        """Watch for nothing any longer."""
        self._contexts.close()

    def learn(self, records: Iterable[SideRecord]) -> None:
        """Take what the side band told."""
        for record in records:
            self._contexts.watch(self._interpreters.saw(record))

    def forked(self, event: Forked) -> None:
        """Take note that a process began."""
        self._roots.pop(event.pid, None)  # another's of that number
        if event.parent in self._roots:
            self._roots[event.pid] = self._roots[event.parent]
        self._frames.forked(event.pid, event.start_ns, event.parent)

    def executed(self, pid: int) -> None:
        """Take note that pid runs a new program."""
        self._roots[pid] = root_of(pid)
        self._frames.drop_codes(pid)
        self._contexts.watch(self._interpreters.executed(pid))

    def ended(self, pid: int) -> None:
        """Take note that pid is gone."""
        self._roots.pop(pid, None)
        self._frames.ended(pid)

    def saw(self, event: Frames | CodeObject) -> None:
        """Find out which functions event tells of."""
        if isinstance(event, CodeObject):
            self._frames.learn(event)
            return
        walk = self._frames.read(event)
        key = event.tid, event.ktime_ns
        if event.level:
            call = self._waiting.get(key)
            if call is not None:
                call.levels.append(walk.frames)
                if call.creators_end is None:
                    call.creators_end, call.creators_unseen = walk.end, walk.unseen
        elif not event.child:
            self._waiting[key] = _Call(walk, event.thread_ns)
            if len(self._waiting) > _MAX_WAITING:
                self._waiting.popitem(last=False)

    def of(self, flow: Traffic, without: NoFrames) -> CodeRecord | NoFrames:
        """Return the code behind `flow`, or why it is not known.

        `without` is what it means that the probes found no CPython in the process.
        """
        if flow.flags & FLAG_OWNERLESS:
            return NoFrames("the kernel named no owner of the packet's socket")
        found = self._call(flow, without)
        call = found if isinstance(found, _Call) else None
        walk = call.walk if call is not None else None
        start = self._frames.started(flow.pid, flow.tid, call.thread_ns if call else 0)
        if isinstance(found, NoFrames) and (start is None or found.may_be_python):
            return found
        source = walk.source if walk is not None else None
        created = call.creators if call is not None else []
        test = running_test(walk, call.levels if call is not None else [], start)
        return CodeRecord(
            language="python" if walk is not None else None,
            function=source.function if source else None,
            file=source.file if source else None,
            line=source.line if source else None,
            package=self._package(source, flow.pid),
            test=test.name,
            test_confirmed=test.confirmed,
            test_at_call=test.other,
            stack=self._stacks.refer(walk.frames) if walk is not None else None,
            stack_end=found.reason if isinstance(found, NoFrames) else found.walk.end,
            created_by=self._stacks.refer(created) if created else None,
            created_by_end=self._why_unseen(call) if call is not None else None,
            started_by=self._stacks.refer(start.frames) if start is not None else None,
        )

    def _why_unseen(self, call: _Call) -> str | None:
        if call.creators_unseen and (failure := self._contexts.failure):
            return f"{call.creators_end}: {failure}"
        return call.creators_end

    def _call(self, flow: Traffic, without: NoFrames) -> _Call | NoFrames:
        if flow.flags & FLAG_FRAMES_LOST:
            return NoFrames("the Python frames did not fit the ring")
        if flow.frames_ns:
            return self._waiting.get((flow.tid, flow.frames_ns)) or NoFrames(
                "too many calls before it: its frames are forgotten"
            )
        return without

    def _package(self, source: FrameRecord | None, pid: int) -> PackageRecord | None:
        if source is None or source.file is None or not source.file.startswith("/"):
            return None
        root = root_of(pid) or self._roots.get(pid, "")
        return self._packages.of(Place(source.file, root))
