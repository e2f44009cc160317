"""Which Python code, and which test, is behind a connection."""

from collections import OrderedDict
from dataclasses import dataclass, field

from egressmon.attribution.frames import PythonFrames, Walk, confirms
from egressmon.attribution.packages import Packages, Place
from egressmon.attribution.records import (
    NOT_PYTHON,
    CodeRecord,
    FrameRecord,
    PackageRecord,
)
from egressmon.events import FLAG_FRAMES_LOST, Flow, Frames

_MAX_WAITING = 4096


@dataclass(slots=True)
class _Call:
    walk: Walk
    thread_ns: int
    creators: list[FrameRecord] = field(default_factory=list[FrameRecord])


class PythonCode:
    """Keeps what frames said until the connections that they belong to arrive."""

    def __init__(self, frames: PythonFrames, packages: Packages) -> None:
        self.frames = frames
        self._packages = packages
        self._waiting: OrderedDict[tuple[int, int], _Call] = OrderedDict()

    def saw(self, event: Frames) -> None:
        """Find out which functions event tells of."""
        walk = self.frames.read(event)
        key = event.tid, event.ktime_ns
        if event.level:
            call = self._waiting.get(key)
            if call is not None:
                call.creators += walk.frames
        elif not event.child:
            self._waiting[key] = _Call(walk, event.thread_ns)
            if len(self._waiting) > _MAX_WAITING:
                self._waiting.popitem(last=False)

    def of(
        self, flow: Flow, language: str | None, root: str
    ) -> tuple[CodeRecord | None, str | None]:
        """Return the code behind flow, or None and why it is not known.

        Language is that of the process; root is where its root folder is, empty for
        our own.
        """
        call, reason = self._call(flow, language)
        walk = call.walk if call is not None else None
        start = self.frames.started(flow.pid, flow.tid, call.thread_ns if call else 0)
        if walk is None and (start is None or reason != NOT_PYTHON):
            return None, reason
        source = walk.source if walk is not None else None
        test = walk.test if walk is not None else start.test if start else None
        created = call.creators if call is not None else []
        stacks = [created, *(one.frames for one in (walk, start) if one is not None)]
        return CodeRecord(
            language="python" if walk is not None else None,
            function=source.function if source else None,
            file=source.file if source else None,
            line=source.line if source else None,
            package=self._package(source, root),
            test=test,
            test_confirmed=(
                any(confirms(test, stack) for stack in stacks) if test else None
            ),
            stack=walk.frames if walk is not None else [],
            stack_end=walk.end if walk is not None else reason,
            created_by=created or None,
            started_by=start.frames if start is not None else None,
        ), None

    def _call(
        self, flow: Flow, language: str | None
    ) -> tuple[_Call | None, str | None]:
        if flow.flags & FLAG_FRAMES_LOST:
            return None, "the Python frames did not fit the ring"
        if flow.frames_ns:
            found = self._waiting.get((flow.tid, flow.frames_ns))
            if found is None:
                return None, "too many calls before it: its frames are forgotten"
            return found, None
        if language == "python":
            return None, "the probes did not know the interpreter at the call"
        return None, NOT_PYTHON

    def _package(self, source: FrameRecord | None, root: str) -> PackageRecord | None:
        if source is None or source.file is None or not source.file.startswith("/"):
            return None
        return self._packages.of(Place(source.file, root))
