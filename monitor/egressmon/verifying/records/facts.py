"""What records refer to by a digest: whether it is there, and whether it is right."""

from typing import Any

import orjson
from blake3 import blake3

from egressmon.text import unescape
from egressmon.values import dataclass

Json = dict[str, Any]
KINDS = frozenset({"stack", "actor", "module", "step"})
_DIGEST_BYTES = 16
_HEX = 2 * _DIGEST_BYTES
_BEFORE = b'"digest":"'
# As many as a writer remembers; those that it forgot, it writes again.
_MAX = 65536
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A module that a verdict may rest on."""

    field: str
    path: str | None
    package: str | None


@dataclass(frozen=True, slots=True)
class Fact:
    """What a verdict needs of a value."""

    kind: str
    size: int
    """Of its line, in bytes."""
    needed: bytes
    """As JSON, which takes no more memory than the line."""

    def exe(self) -> str | None:
        """Return the program that a process runs."""
        return _text(orjson.loads(self.needed)[0])

    def pid(self) -> int:
        """Return the number of a process."""
        return int(orjson.loads(self.needed)[1])

    def files(self) -> tuple[File, ...]:
        """Return the files of a module's record."""
        return tuple(
            File(field, _text(path), _text(package))
            for field, path, package in orjson.loads(self.needed)
        )


class Facts:
    """The values in a file so far, but for those that nothing referred to for long.

    They are kept in two generations: what is referred to in the older one comes into
    the newer. So each is kept until at least as many others were met as a writer
    remembers.
    """

    def __init__(self) -> None:
        self.recent: dict[str, Fact] = {}
        self._older: dict[str, Fact] = {}
        self._bytes = 0

    def remember(self, digest: str, fact: Fact) -> None:
        """Have `digest` stand for `fact` from now on."""
        if digest not in self.recent:
            self._bytes += fact.size
        self.recent[digest] = fact
        if len(self.recent) >= _MAX or self._bytes >= _MAX_BYTES:
            self._older, self.recent, self._bytes = self.recent, {}, 0

    def get(self, digest: str) -> Fact | None:
        """Return what `digest` stands for, which a record refers to; None: nothing."""
        found = self.recent.get(digest)
        if found is None and (found := self._older.get(digest)) is not None:
            self.remember(digest, found)
        return found


def has_right_digest(body: bytes, record: Json) -> bool:
    """Tell whether the value `record` has the digest of its own fields.

    `body` is its line from behind the envelope, and in the form in which it is written.
    """
    start = len(_BEFORE) + _HEX + 2
    content = b"{" + body[start:]
    if cut := record.get("cut"):
        content = content.removesuffix(b',"cut":' + orjson.dumps(cut) + b"}") + b"}"
    return bool(blake3(content).hexdigest(_DIGEST_BYTES) == record["digest"])


def fact_of(kind: str, record: Json, size: int) -> Fact:
    """Return what a verdict needs of the value `record`, of `size` bytes."""
    needed: object = None
    if kind == "actor":
        needed = [record["exe"], record["pid"]]
    elif kind == "module":
        needed = _files(record)
    # Copied: orjson leaves room in what it returns.
    return Fact(kind, size, bytes(memoryview(orjson.dumps(needed))))


def _files(record: Json) -> list[list[str | None]]:
    found: list[list[str | None]] = []
    for name in ("caller", "binding"):
        file = record[name]
        if file is not None:
            package = file["package"]
            owner = package["name"] if package is not None else None
            found.append([f"module.{name}", file["path"], owner])
    return found


def _text(value: str | None) -> str | None:
    return None if value is None else unescape(value)


def references(record: Json) -> list[tuple[str, str]]:
    """Return the (kind, digest) of each value that `record` refers to."""
    found: list[tuple[str, str]] = []
    if record["type"] == "actor":
        step = record.get("step")
        return [("step", step["digest"])] if step is not None else []
    for name, kind in (("process", "actor"), ("module", "module")):
        if (value := record.get(name)) is not None:
            found.append((kind, value["digest"]))
    if (code := record.get("code")) is not None:
        found += [
            ("stack", code[name]["digest"])
            for name in ("stack", "created_by", "started_by")
            if code[name] is not None
        ]
    return found
