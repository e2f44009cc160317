"""Put what records refer to by a digest in the place of the reference."""

from collections import OrderedDict
from typing import Any, cast

import orjson

_KINDS = frozenset({"stack", "actor", "module", "step"})
_STACKS = ("stack", "created_by", "started_by")
_ENVELOPE = frozenset({
    "schema", "type", "seq", "time", "run", "phase", "prev", "cut"
})  # fmt: skip
# What a writer remembers, counted as it does: what it forgot, it writes again.
_MAX = 65536
_MAX_BYTES = 64 << 20
Json = dict[str, Any]


class Values:
    """The values in a file so far: those that later records may refer to."""

    def __init__(self) -> None:
        # As lines: what is parsed takes up to 24 times as much memory.
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self.missing = 0
        """How many references had nothing to refer to."""

    def resolve(self, record: Json, line: bytes) -> Json:
        """Return `record`, which is parsed from `line`, without references.

        Records must be given in the order of the file. What cannot be found is counted,
        and stays as it is. Fields may be of any type: nobody checked them.
        """
        if record["type"] in _KINDS:
            self._remember(record, line)
            return record
        record = self._within(record, "process")
        if isinstance(process := record.get("process"), dict):
            record = record | {"process": self._within(cast("Json", process), "step")}
        record = self._within(record, "module")
        code = record.get("code")
        if isinstance(code, dict):
            holder = cast("Json", code)
            for name in _STACKS:
                holder = self._within(holder, name)
            record = record | {"code": holder}
        return record

    def _remember(self, record: Json, line: bytes) -> None:
        digest = record.get("digest")
        if not isinstance(digest, str):
            return
        self._bytes += len(line) - len(self._known.pop(digest, b""))
        self._known[digest] = line
        while len(self._known) > _MAX or self._bytes > _MAX_BYTES:
            self._bytes -= len(self._known.popitem(last=False)[1])

    def _within(self, holder: Json, name: str) -> Json:
        found = holder.get(name)
        if not isinstance(found, dict):
            return holder
        reference = cast("Json", found)
        digest = reference.get("digest")
        if not isinstance(digest, str) or (line := self._known.get(digest)) is None:
            self.missing += 1
            return holder
        self._known.move_to_end(digest)
        return holder | {name: reference | _fields(line)}


def _fields(line: bytes) -> Json:
    found: Json = orjson.loads(line)
    return {name: found[name] for name in found if name not in _ENVELOPE}
