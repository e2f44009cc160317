"""Read the records of a run back, one by one: whoever wrote them, in bounded memory.

What is of another form is noted as a doubt, and the reading goes on. That a line is the
one that egressmon wrote is not checked here: `egressmon verify` does that.
"""

from collections.abc import Iterator
from typing import Any, cast, get_args

from egressmon.auditing.doubts import Doubts
from egressmon.auditing.values import value_of
from egressmon.evidence.records import SCHEMA, Record
from egressmon.evidence.records.running import RunEnd
from egressmon.reading.lines import Line, LineError, lines_of
from egressmon.reading.values import Values
from egressmon.values import dataclass
from egressmon.verifying.records.shapes import shapes
from egressmon.verifying.sequence.envelope import head_of

Json = dict[str, Any]
_CLASSES: dict[str, type] = {one.TYPE: one for one in get_args(Record)}
_REFERRED = frozenset({"stack", "actor", "module", "step"})
# What making a value of a record of another form can raise.
_ODD = (LookupError, TypeError, ValueError, AttributeError)
_MAX_REASONS = 20
# Most lines have the record of an earlier one. What is before its fields is each line's
# own: `prev` is a digest, and as long as all.
_REPEATED = frozenset({"connection", "dns"})
_PREV = b',"prev":'
_PREV_SIZE = len('"blake3:"') + 64
_MAX_SAME, _MAX_SAME_BYTES = 4096, 4 << 20
_MAX_DIGESTS = 65536


@dataclass(slots=True)
class Told:
    """A record that was read; lines that have the same one have it in common."""

    record: Record
    json: Json
    """As it was written, with what it refers to in its place."""
    phase: str | None
    memo: object = None
    """What a reader made of it, to be used again."""


def told_in(paths: tuple[str, ...], doubts: Doubts) -> Iterator[Told]:
    """Yield the records of the run whose files are at `paths`.

    Raises UsageError if a file cannot be read.
    """
    reader = _Reader(doubts)
    for number, path in enumerate(paths):
        yield from reader.read(path, is_first=not number)
    reader.finish(paths[-1])


class _Reader:
    def __init__(self, doubts: Doubts) -> None:
        self._doubts = doubts
        self._values = Values()
        self._next = 0
        self._has_gap = False
        self._end: RunEnd | None = None
        self._run: object = None
        self._same: dict[tuple[str, bytes, bytes], Told] = {}
        """Records so far, by their kind and the parts of their lines."""
        self._same_bytes = 0
        self._digests: set[str] = set()

    def read(self, path: str, *, is_first: bool) -> Iterator[Told]:
        self._values = Values()  # a file has all that it refers to
        self._forget_same()
        for line in lines_of(path):
            try:
                told = self._told(line, is_first=is_first)
            except LineError as error:
                self._doubts.add(f"{path}: line {line.number} {error}")
                self._next += 1
                continue
            if told is not None:
                yield told
        if self._values.missing:
            what = "references to what is not in the file"
            self._doubts.add(f"{path}: {self._values.missing} {what}")

    def _told(self, line: Line, *, is_first: bool) -> Told | None:
        front, _, rest = line.data.partition(_PREV)
        prev, _, body = rest.partition(b",")
        head = head_of(front) if len(prev) == _PREV_SIZE and line.is_ended else None
        key = None
        if head is not None and head.kind in _REPEATED:
            key = head.kind, head.own, body
            if (known := self._same.get(key)) is not None:
                self._count(head.seq)
                return known
        told = self._parsed(line, is_first=is_first)
        if key is not None and told is not None:
            self._keep(key, told)
        return told

    def _keep(self, key: tuple[str, bytes, bytes], told: Told) -> None:
        if len(self._same) >= _MAX_SAME or self._same_bytes > _MAX_SAME_BYTES:
            self._forget_same()
        self._same[key] = told
        self._same_bytes += len(key[2])

    def _forget_same(self) -> None:
        self._same.clear()
        self._same_bytes = 0

    # What is written again may be another.
    def _note_value(self, digest: object) -> None:
        if digest in self._digests or len(self._digests) >= _MAX_DIGESTS:
            self._forget_same()
            self._digests.clear()
        self._digests.add(str(digest))

    def _parsed(self, line: Line, *, is_first: bool) -> Told | None:
        record = line.record()
        if not line.is_ended:
            raise LineError("is cut off: whoever wrote it was ended")
        kind = record["type"]
        shape = shapes().get(kind)
        if record.get("schema") != SCHEMA:
            raise LineError(f"is not of the schema {SCHEMA}")
        if shape is None:
            raise LineError("is of a type that is not known here")
        if (complaint := shape.check(record)) is not None:
            raise LineError(f"({kind}) {complaint.strip()}")
        self._follow(record, line.number, is_first=is_first)
        record = self._values.resolve(record, line.data)
        if kind in _REFERRED:
            self._note_value(record["digest"])
            return None
        try:
            value = cast("Record", value_of(_CLASSES[kind], record))
        except _ODD as error:
            raise LineError("is no record of its kind") from error
        if isinstance(value, RunEnd):
            self._end = value
        return Told(value, record, record["phase"])

    # A line that is not there may be the one that says what is looked for.
    def _follow(self, record: Json, number: int, *, is_first: bool) -> None:
        begins = record["type"] == "run.start"
        if begins != (is_first and number == 1):
            what = "begins another run" if begins else "does not begin a run"
            if begins or (number == 1 and record["type"] != "segment"):
                raise LineError(what)
            if is_first and number == 1:
                self._doubts.add("the beginning of the run is not here")
                self._next = record["seq"]
        self._run = record["run"] if self._run is None else self._run
        if record["run"] != self._run:
            raise LineError("is of another run")
        self._count(record["seq"])

    def _count(self, seq: int) -> None:
        if self._end is not None:
            raise LineError("comes after the end of the run")
        if seq != self._next and not self._has_gap:
            self._has_gap = True
            self._doubts.add(f"records are missing before number {seq}")
        self._next = seq + 1

    def finish(self, path: str) -> None:
        end = self._end
        if end is None:
            self._doubts.add(
                f"{path}: the run has no end: nobody knows what is missing"
            )
        elif not end.complete:
            reasons = end.incomplete_reasons
            listed = "; ".join(reasons[:_MAX_REASONS]) or "it does not say why"
            more = len(reasons) - _MAX_REASONS
            rest = f" (and {more} more)" if more > 0 else ""
            self._doubts.add(f"{path}: the run is incomplete: {listed}{rest}")
