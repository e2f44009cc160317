"""Take lines of evidence apart, and see that none of them is missing or changed."""

from typing import Any, NamedTuple

from blake3 import blake3

from egressmon.evidence.gate import MAX_RECORD
from egressmon.evidence.records import SCHEMA
from egressmon.reading.lines import Line, LineError
from egressmon.verifying.sequence.envelope import schema_number

_HEAD = b'{"schema":"' + SCHEMA.encode() + b'","type":"'
_PREV = b',"prev":'
_DIGEST = len(b'"blake3:",') + 64
_NUMBER = int(SCHEMA.rpartition("/")[2])


class Taken(NamedTuple):
    """A line whose place in the chain is right."""

    kind: str
    body: bytes
    """What follows `prev`: equal for equal records. Empty in a line of another form."""


class Chain:
    """The chain of one run, over all of its files."""

    def __init__(self) -> None:
        self._head: str | None = None
        """The digest of the line before; None: there is none."""
        self._kinds: dict[bytes, str] = {}

    def take(self, line: Line) -> Taken:
        """Return what `line` is; raises LineError, also where it is out of place."""
        data = line.data
        if len(data) > MAX_RECORD:
            raise LineError(f"is longer than a record may be ({MAX_RECORD} bytes)")
        if not line.is_ended:
            raise LineError("is cut off: whoever wrote it was ended")
        before = self._head
        self._head = blake3(data).hexdigest()
        wanted = b'"blake3:' + before.encode() + b'",' if before else b"null,"
        head, _, rest = data.partition(_PREV)
        if rest.startswith(wanted) and head.startswith(_HEAD):
            name = head[len(_HEAD) :].partition(b'"')[0]
            return Taken(self._kind(name), rest[len(wanted) :])
        return self._other(line, before)

    def _kind(self, name: bytes) -> str:
        if name not in self._kinds:
            if len(self._kinds) > 1000:
                self._kinds.clear()
            self._kinds[name] = name.decode(errors="replace")
        return self._kinds[name]

    # Not as we write it, or not in its place.
    def _other(self, line: Line, before: str | None) -> Taken:
        if (number := schema_number(line.data)) is not None and number != _NUMBER:
            raise LineError(
                f"is of the schema egressmon/{number}; this egressmon reads {SCHEMA}"
            )
        record: dict[str, Any] = line.record()
        if record.get("schema") != SCHEMA:
            raise LineError("is no record: it names no schema that is known")
        if record.get("prev") != (f"blake3:{before}" if before else None):
            raise LineError("does not follow on the line before it")
        return Taken(str(record["type"]), b"")
