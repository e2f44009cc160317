"""Refer to Python stacks by a digest, so that each is written only once."""

from collections import OrderedDict
from collections.abc import Sequence

from egressmon.evidence import gate
from egressmon.evidence.records.code import FrameRecord, StackRecord, StackReference
from egressmon.evidence.referring import digest_of

_MAX_NAME = 256
_MAX_BYTES = 56 << 10
_MAX_KEPT = 512
_MAX_FRAMES_KEPT = 65536
_FRAME_BYTES = 3  # of JSON for each frame, besides its numbers: [ ] and a comma


class Stacks:
    """Makes references to stacks, and remembers the latest ones."""

    def __init__(self) -> None:
        # By the frames' id(), which nothing else gets as long as the frames are kept.
        self._known: OrderedDict[
            tuple[int, ...], tuple[Sequence[FrameRecord], StackReference]
        ] = OrderedDict()
        self._frames = 0

    def refer(self, frames: Sequence[FrameRecord]) -> StackReference:
        """Return the reference to a stack of `frames`, innermost first."""
        key = tuple(map(id, frames))
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known[1]
        made = _reference(frames)
        self._known[key] = tuple(frames), made
        self._frames += len(key)
        while len(self._known) > _MAX_KEPT or self._frames > _MAX_FRAMES_KEPT:
            self._frames -= len(self._known.popitem(last=False)[0])
        return made


class _Table:
    """Collects frames and the names in them, until a record is full."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.frames: list[tuple[int | None, int | None, int | None]] = []
        self._left = _MAX_BYTES

    def add(self, frame: FrameRecord) -> bool:
        """Add `frame`; returns False if there is no room for it."""
        function = _head(frame.function) if frame.function is not None else None
        file = _tail(frame.file) if frame.file is not None else None
        fresh = {one for one in (function, file) if one not in self.names}
        fresh.discard(None)
        size = sum(len(gate.admit(one)[0]) + 1 for one in fresh) + _FRAME_BYTES
        row = self._index(function), self._index(file), frame.line
        size += sum(len(str(one)) + 1 if one is not None else 5 for one in row)
        if size > self._left:
            return False
        self._left -= size
        self.frames.append(row)
        return True

    def _index(self, name: str | None) -> int | None:
        return None if name is None else self.names.setdefault(name, len(self.names))


def _reference(frames: Sequence[FrameRecord]) -> StackReference:
    table = _Table()
    for frame in frames:
        if not table.add(frame):
            break
    used = {one for row in table.frames for one in row[:2]}
    names = [name for name, index in table.names.items() if index in used]
    left_out = len(frames) - len(table.frames)
    digest = digest_of({"names": names, "frames": table.frames, "left_out": left_out})
    record = StackRecord(digest, names, table.frames, left_out)
    return StackReference(digest, record)


# When cut, a function is best known by the beginning of its name, a file by the end of
# its path.
def _head(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"


def _tail(path: str) -> str:
    return path if len(path) <= _MAX_NAME else "…" + path[1 - _MAX_NAME :]
