"""Turn the frames that the probes read into functions, files and lines.

The probes read them in the process's own memory: they are what the process claims.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from itertools import count

from egressmon.attribution.python.line_tables import line_of
from egressmon.events.model import CodeObject, Frames, FramesStatus
from egressmon.evidence.records.code import FrameRecord
from egressmon.probes.wire import LAYOUTS
from egressmon.sanitise import sanitise_place
from egressmon.values import dataclass, field

_KEY = LAYOUTS["code_key"]
_MAX_CODES = 65536
_MAX_BYTES = 32 << 20
_MAX_STARTS = 16384
_MAX_LINES_KEPT = 4096

_ENDS: dict[FramesStatus, str | None] = {
    "whole": None,
    "no-thread": "the interpreter does not know the thread",
    "idle": "the thread runs no Python code",
    "unreadable": "the process's memory could not be read farther",
    "odd": "a frame holds no code object",
    "unnoted": "who created it was not seen",
    "unsure": "there are several interpreters, and which one runs is not known",
    "no-pointer": "there are several threads, and the kernel does not know yet which "
    "one runs (arm64)",
}
_SCHEDULED = "by way of a callback: the frames that scheduled it are not kept"
_STANDARD_LIBRARY = re.compile(
    r".*/lib(?:64)?/python3\.\d+t?/(?!(?:site|dist)-packages/).*"
    r"|.*/python3\d+t?\.zip/.*|<frozen .*>"
)

_SERIALS = count(1)
_Instance = tuple[int, int, int]  # pid, start_ns, exec_id


@dataclass(frozen=True, slots=True)
class Walk:
    """The frames of a thread at one moment, innermost first."""

    frames: list[FrameRecord]
    end: str | None
    """Why they end before the outermost frame, or None if they do not."""
    test: str | None
    unseen: bool = False
    """Whether there are none because the probes did not see who created the task."""
    serial: int = field(default_factory=_SERIALS.__next__, compare=False, repr=False)
    """A number that no other walk has."""

    @property
    def source(self) -> FrameRecord | None:
        """The innermost frame outside the standard library, else the innermost."""
        for frame in self.frames:
            if frame.file is not None and not is_standard(frame.file):
                return frame
        return self.frames[0] if self.frames else None


@dataclass(slots=True)
class _Code:
    told: CodeObject
    function: str | None
    file: str | None
    frames: dict[int, FrameRecord] = field(default_factory=dict[int, FrameRecord])

    @property
    def size(self) -> int:
        texts = (self.function or "", self.file or "")
        return 512 + len(self.told.lines or b"") + sum(map(len, texts))

    def at(self, place: int) -> FrameRecord:
        known = self.frames.get(place)
        if known is None:
            told = self.told
            line = None
            if told.lines is not None:
                line = line_of(told.minor, told.lines, told.first_line, place)
            known = FrameRecord(self.function, self.file, line)
            if len(self.frames) < _MAX_LINES_KEPT:
                self.frames[place] = known
        return known


def is_standard(file: str) -> bool:
    """Tell whether `file`, a code object's, belongs to the standard library."""
    return _STANDARD_LIBRARY.fullmatch(file) is not None


class PythonFrames:
    """Code objects, and the frames that started threads and processes."""

    def __init__(self, forget_code: Callable[[bytes], None]) -> None:
        """`forget_code` is called with the key of each code object that is dropped."""
        self._forget_code = forget_code
        self._codes: OrderedDict[tuple[_Instance, int, int], _Code] = OrderedDict()
        self._of_process: dict[int, set[tuple[_Instance, int, int]]] = {}
        self._bytes = 0
        self._starts: OrderedDict[tuple[int, int], Walk] = OrderedDict()
        self._origins: dict[int, Walk] = {}
        self.version = 0
        """Another number once any code object is known, or is forgotten."""

    def on_code_object(self, told: CodeObject) -> None:
        """Keep a code object, and drop the oldest beyond the bounds."""
        key = (told.pid, told.start_ns, told.exec_id), told.code, told.fingerprint
        self._drop(key)
        self.version += 1
        code = self._codes[key] = _Code(told, _clean(told.name), _clean(told.file))
        self._of_process.setdefault(told.pid, set()).add(key)
        self._bytes += code.size
        while len(self._codes) > _MAX_CODES or self._bytes > _MAX_BYTES:
            oldest = next(iter(self._codes))
            self._drop(oldest)
            (pid, start_ns, exec_id), address, fingerprint = oldest
            self._forget_code(
                _KEY.pack(start_ns, address, pid, exec_id, fingerprint, 0)
            )

    def on_frames(self, event: Frames) -> Walk:
        """Return the frames of `event`; keep them if they start a thread or process."""
        instance = event.pid, event.start_ns, event.exec_id
        frames: list[FrameRecord] = []
        unnamed = 0
        for address, fingerprint, place in event.frames:
            code = self._codes.get((instance, address, fingerprint))
            if code is None:
                unnamed += 1
                frames.append(FrameRecord(None, None, None))
            elif not _is_shim(code):
                frames.append(code.at(place))
        walk = Walk(
            frames,
            _end(event, unnamed),
            _clean(event.test),
            unseen=event.status == "unnoted" and not unnamed,
        )
        if event.child:
            self._keep_start(event, walk)
        return walk

    # A library's thread, whoever started that, may start more of them.
    def _keep_start(self, event: Frames, walk: Walk) -> None:
        if not walk.frames:
            walk = self._starts.get((event.tid, event.thread_ns), walk)
        self._starts[event.child, event.child_ns] = walk
        if len(self._starts) > _MAX_STARTS:
            self._starts.popitem(last=False)

    def on_forked(self, pid: int, start_ns: int, parent: int) -> None:
        """Keep what started the process `pid`, which `parent` made at `start_ns`."""
        walk = self._starts.pop((pid, start_ns), None) or self._origins.get(parent)
        self._origins.pop(pid, None)  # another's of that number
        if walk is not None and len(self._origins) < _MAX_STARTS:
            self._origins[pid] = walk

    def started(self, pid: int, tid: int, thread_ns: int) -> Walk | None:
        """Return the frames that started a thread of `pid`, or the process, if known.

        `thread_ns` is when the thread began, or 0 if that is not known.
        """
        if tid != pid and thread_ns:
            return self._starts.get((tid, thread_ns))
        return self._origins.get(pid)

    def on_executed(self, pid: int) -> None:
        """Drop the code objects of `pid`, which runs another program."""
        for key in list(self._of_process.get(pid, ())):
            self._drop(key)

    def on_ended(self, pid: int) -> None:
        """Forget `pid`, which is gone."""
        self.on_executed(pid)
        self._origins.pop(pid, None)

    def _drop(self, key: tuple[_Instance, int, int]) -> None:
        code = self._codes.pop(key, None)
        if code is None:
            return
        self.version += 1
        self._bytes -= code.size
        pid = key[0][0]
        keys = self._of_process[pid]
        keys.discard(key)
        if not keys:
            del self._of_process[pid]


# Since 3.13 a frame of this name cleans up after __init__: Python/pylifecycle.c,
# _Py_InitCleanup.
def _is_shim(code: _Code) -> bool:
    return code.file == "__init__" == code.function


def _clean(text: str | None) -> str | None:
    return sanitise_place(text) if text else text


def _end(event: Frames, unnamed: int) -> str | None:
    if event.status == "cut":
        more = max(event.total - len(event.frames), 1)
        return f"at least {more} more frames were not kept"
    if unnamed:
        return f"{unnamed} code objects were not told of: too many at once"
    return _ENDS[event.status] or (_SCHEDULED if event.callback else None)
