"""Which Python code, and which test, is behind a connection."""

import os
import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Literal, NamedTuple, Protocol

from egressmon.attribution.packages.lookup import Packages, Place
from egressmon.attribution.python.builds import Interpreter
from egressmon.attribution.python.creators import ContextProbes, Contexts
from egressmon.attribution.python.frames import PythonFrames, Walk
from egressmon.attribution.python.interpreters import Finder, Interpreters
from egressmon.attribution.python.known_walks import KnownWalks
from egressmon.attribution.python.running_test import RunningTest, running_test
from egressmon.attribution.python.unusable import UnusableInterpreters
from egressmon.events.decode import decode
from egressmon.events.glance import FlowHead, FramesHead, frames_head, frames_rest
from egressmon.events.model import (
    FLAG_FRAMES_LOST,
    FLAG_OWNERLESS,
    CodeObject,
    DnsPacket,
    Executed,
    Forked,
    Frames,
    Traffic,
)
from egressmon.evidence.records.code import CodeRecord, FrameRecord, PackageRecord
from egressmon.evidence.stacks import Stacks
from egressmon.files.roots import root_of
from egressmon.probes.kernel.sideband import SideRecord
from egressmon.values import dataclass, field

_MAX_WAITING = 4096
_NO_SOURCE = FrameRecord(None, None, None)


@dataclass(frozen=True, slots=True)
class NoFrames:
    """Why no Python frames belong to a call."""

    reason: str
    may_be_python: bool = True
    """Whether Python code may be behind the call all the same."""


@dataclass(slots=True)
class _Call:
    walk: Walk
    thread_ns: int
    levels: list[list[FrameRecord]] = field(default_factory=list[list[FrameRecord]])
    """Where its task was created, where the task that did so was created, and so on."""
    serials: tuple[int, ...] = ()
    """Of the walks that `levels` are from."""
    creators_end: str | None = None
    creators_unseen: bool = False

    @property
    def creators(self) -> list[FrameRecord]:
        return [frame for level in self.levels for frame in level]


class _Root(NamedTuple):
    path: str
    """As root_of() has it."""
    since_ns: int


class FrameMemory(Finder, ContextProbes, Protocol):
    """The map of interpreters and code objects that the probes keep."""

    def forget_code(self, key: bytes) -> None:
        """Have the probes report that code object again when a call next meets it."""


class PythonCode:
    """Keeps the frames of calls until the connections that they belong to arrive."""

    def __init__(self, memory: FrameMemory, packages: Packages) -> None:
        """`memory` is the map of interpreters and code objects that the probes keep."""
        self.no_creators = ""
        """Why the creators of tasks are not recorded; empty if they are."""
        self._packages = packages
        self._frames = PythonFrames(memory.forget_code)
        self._stacks = Stacks()
        self._interpreters = Interpreters(memory)
        self._unusable = UnusableInterpreters()
        self._contexts = Contexts(memory)
        self._roots: dict[int, _Root] = {}
        """The root folder of each process at its last execve(2)."""
        self._waiting: OrderedDict[tuple[int, int], _Call] = OrderedDict()
        self._walks = KnownWalks(lambda: self._frames.version)

    def begin(self) -> None:
        """Start what needs capabilities that the agent drops later."""
        own = self._interpreters.consider(sys.executable)
        self.no_creators = self._contexts.begin(own)

    @property
    def helper(self) -> int | None:
        """The id of the process that attaches probes, or None if there is none."""
        return self._contexts.helper

    def prepare(self, command: Iterable[bytes], path: bytes) -> None:
        """Register the interpreters that `command`, looked for in `path`, may run."""
        self._contexts.watch(self._interpreters.prepare(command, path))

    def settle(self) -> None:
        """Wait until all that `prepare` began is done."""
        self.no_creators = self._contexts.settle()

    @property
    def is_cut_short(self) -> bool:
        """Whether recording the creators of tasks ended before the run did."""
        return self._contexts.is_cut_short

    def close(self) -> None:
        """Detach from all interpreters (0.1 s, which nobody waits for)."""
        self._contexts.close()

    def on_mappings(self, records: Iterable[SideRecord]) -> None:
        """Follow which interpreters processes map; `records` are in order of time."""
        for record in records:
            found = self._interpreters.on_side_record(record)
            if found is not None:
                self._find_root(record.pid, record.ktime_ns, found)
            self._unusable.on_side_record(record, found)
            self._contexts.watch(found)

    def on_fork(self, event: Forked) -> None:
        """Let a process inherit what is known of its parent."""
        self._roots.pop(event.pid, None)  # another's of that number
        if event.parent in self._roots:
            self._roots[event.pid] = self._roots[event.parent]
        self._frames.on_forked(event.pid, event.start_ns, event.parent)

    def on_exec(self, event: Executed, known: os.stat_result | None) -> None:
        """Forget a process's code: it runs a program, of whose file `known` is told.

        None: that must be looked up.
        """
        pid = event.pid
        self._frames.on_executed(pid)
        found = self._interpreters.on_executed(pid, known)
        self._find_root(pid, event.ktime_ns, found)
        self._unusable.on_executed(pid, found)
        self._contexts.watch(found)

    # Only Python has code to look for below a root folder, and to ask for that takes
    # longer than all else at an exec. An interpreter may be mapped before its exec is
    # heard of.
    def _find_root(self, pid: int, ktime_ns: int, found: Interpreter | None) -> None:
        if found is not None:
            self._roots[pid] = _Root(root_of(pid), ktime_ns)
        elif pid in self._roots and self._roots[pid].since_ns < ktime_ns:
            del self._roots[pid]

    def on_exit(self, pid: int) -> None:
        """Forget `pid`, which is gone."""
        self._roots.pop(pid, None)
        self._unusable.on_ended(pid)
        self._frames.on_ended(pid)

    def on_frames(self, event: Frames | CodeObject) -> None:
        """Keep what `event` says of a call, or of a function in its frames."""
        if isinstance(event, CodeObject):
            self._frames.on_code_object(event)
            return
        self._on_walk(event, self._frames.on_frames(event))

    def on_frames_again(self, data: bytes) -> bool:
        """Keep what the frames event in `data` says, if that is known already."""
        walk = self._walks.get(frames_rest(data))
        head = frames_head(data)
        if walk is None or head is None:
            return False
        self._on_walk(head, walk)
        return True

    def on_new_frames(self, data: bytes) -> None:
        """Keep what the frames event in `data` says, for later ones like it, too."""
        event = decode(data)
        if not isinstance(event, Frames):
            return
        walk = self._frames.on_frames(event)
        self._on_walk(event, walk)
        if not event.child:  # else it is the start of a thread or process as well
            self._walks.keep(frames_rest(data), walk)

    def _on_walk(self, event: Frames | FramesHead, walk: Walk) -> None:
        if event.level:
            self._on_creators(event, walk)
        elif not event.child:
            self._waiting[event.tid, event.ktime_ns] = _Call(walk, event.thread_ns)
            if len(self._waiting) > _MAX_WAITING:
                self._waiting.popitem(last=False)

    def _on_creators(self, event: Frames | FramesHead, walk: Walk) -> None:
        call = self._waiting.get((event.tid, event.ktime_ns))
        if call is None:
            return
        call.levels.append(walk.frames)
        call.serials += (walk.serial,)
        if call.creators_end is None:
            call.creators_end, call.creators_unseen = walk.end, walk.unseen

    def why_unusable(self, flow: Traffic) -> str | None:
        """Return why the interpreter that made `flow` cannot be used, or None."""
        return self._unusable.why(flow.pid, flow.stack_ns or flow.ktime_ns)

    def basis(self, flow: FlowHead | DnsPacket) -> Hashable:
        """Return all that `of` rests on, for flows that are alike otherwise.

        None if that cannot be said.
        """
        call = self._waiting.get((flow.tid, flow.frames_ns)) if flow.frames_ns else None
        start = self._frames.started(
            flow.pid, flow.tid, call.thread_ns if call is not None else 0
        )
        began = start.serial if start is not None else 0
        if call is None:
            unusable = self._unusable.why(flow.pid, flow.stack_ns or flow.ktime_ns)
            return bool(flow.frames_ns), began, unusable
        if self._root(flow.pid):
            return None  # which packages are in it, is not ours to remember
        failure = self._contexts.failure if call.creators_unseen else ""
        serials = (call.walk.serial, *call.serials)
        return serials, began, failure, self._packages.generation

    def of(
        self, flow: Traffic, reason_without_python: NoFrames
    ) -> CodeRecord | NoFrames:
        """Return the code behind `flow`, or why it is not known."""
        if flow.flags & FLAG_OWNERLESS:
            return NoFrames("the kernel named no owner of the packet's socket")
        found = self._call(flow, reason_without_python)
        if isinstance(found, _Call):
            start = self._frames.started(flow.pid, flow.tid, found.thread_ns)
            return self._code_of_call(found, start, flow.pid)
        start = self._frames.started(flow.pid, flow.tid, 0)
        if start is None or found.may_be_python:
            return found
        return self._code_of_start(start, found.reason)

    def _call(self, flow: Traffic, without: NoFrames) -> _Call | NoFrames:
        if flow.flags & FLAG_FRAMES_LOST:
            return NoFrames("the Python frames did not fit the ring")
        if flow.frames_ns:
            return self._waiting.get((flow.tid, flow.frames_ns)) or NoFrames(
                "too many calls before it: its frames are forgotten"
            )
        return without

    def _code_of_call(self, call: _Call, start: Walk | None, pid: int) -> CodeRecord:
        source = call.walk.source or _NO_SOURCE
        return self._record(
            running_test(call.walk, call.levels, start),
            start,
            language="python",
            source=source,
            package=self._package(source.file, pid),
            stack=call.walk.frames,
            stack_end=call.walk.end,
            created_by=call.creators,
            created_by_end=self._why_unseen(call),
        )

    # A process that runs no Python, as a `curl`, and that Python started.
    def _code_of_start(self, start: Walk, reason: str) -> CodeRecord:
        test = running_test(None, [], start)
        return self._record(test, start, stack_end=reason)

    def _record(  # noqa: PLR0913 -- the fields of a record
        self,
        test: RunningTest,
        start: Walk | None,
        *,
        stack_end: str | None,
        language: Literal["python"] | None = None,
        source: FrameRecord = _NO_SOURCE,
        package: PackageRecord | None = None,
        stack: list[FrameRecord] | None = None,
        created_by: list[FrameRecord] | None = None,
        created_by_end: str | None = None,
    ) -> CodeRecord:
        return CodeRecord(
            language=language,
            function=source.function,
            file=source.file,
            line=source.line,
            package=package,
            test=test.name,
            test_confirmed=test.confirmed,
            test_at_call=test.other,
            stack=self._stacks.refer(stack) if stack is not None else None,
            stack_end=stack_end,
            created_by=self._stacks.refer(created_by) if created_by else None,
            created_by_end=created_by_end,
            started_by=self._stacks.refer(start.frames) if start is not None else None,
        )

    def _why_unseen(self, call: _Call) -> str | None:
        if call.creators_unseen and (failure := self._contexts.failure):
            return f"{call.creators_end}: {failure}"
        return call.creators_end

    def _package(self, file: str | None, pid: int) -> PackageRecord | None:
        if file is None or not file.startswith("/"):
            return None
        return self._packages.of(Place(file, self._root(pid)))

    def _root(self, pid: int) -> str:
        known = self._roots.get(pid)
        return root_of(pid) or (known.path if known is not None else "")
