"""The manifest of a run whose evidence is in segments: which files it is, and of what.

It has one form for each content, so that a byte of it that was changed is missed.
"""

import re
from typing import Any

import orjson

from egressmon.errors import EvidenceError
from egressmon.values import dataclass

SCHEMA = "egressmon-manifest/1"
MANIFEST = ".manifest.json"
"""What follows the run in the manifest's name."""
MAX_BYTES = 32 << 20
_NAME = re.compile(r"(?P<run>.+)-(?P<number>\d{6,9})\.jsonl", re.DOTALL)
_RUN = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of a run's evidence that is written no more."""

    number: int
    """From 1."""
    file: str
    records: int
    bytes: int
    blake3: str
    """`blake3:` and the digest of the whole file."""
    first_seq: int | None
    last_seq: int | None
    """None: it has no record."""
    head: str | None
    """The digest of its last line."""


_FIELDS = (
    "number", "file", "records", "bytes", "blake3", "first_seq", "last_seq", "head"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Manifest:
    """The segments of a run, in their order."""

    run: str
    complete: bool
    """Whether the end of the run was written; until then, there are more segments."""
    segments: tuple[Segment, ...]

    def text(self) -> bytes:
        """Return the manifest as it is written."""
        content = {
            "schema": SCHEMA,
            "run": self.run,
            "complete": self.complete,
            "segments": self.segments,
        }
        return orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"


def segment_name(run: str, number: int) -> str:
    """Return the name of the file of segment `number`."""
    return f"{run}-{number:06}.jsonl"


def manifest_name(run: str) -> str:
    """Return the name of the manifest of `run`."""
    return f"{run}{MANIFEST}"


def named(name: str) -> tuple[str, int] | None:
    """Return of which run, and which number, a file called `name` would be a segment.

    None: no segment is called so.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    run, number = found["run"], int(found["number"])
    return (run, number) if segment_name(run, number) == name and number else None


def parse(data: bytes) -> Manifest:
    """Return the manifest that is written as `data`; raises EvidenceError."""
    if len(data) > MAX_BYTES:
        raise _malformed(f"it has more than {MAX_BYTES} bytes")
    try:
        found = orjson.loads(data)
        manifest = _manifest(found)
    except (ValueError, TypeError, LookupError) as error:
        raise _malformed(str(error)) from error
    if manifest.text() != data:
        raise _malformed("it is not in the one form in which egressmon writes it")
    return manifest


# Whatever else the JSON has, it is then not what this would be written as.
def _manifest(found: Any) -> Manifest:
    if found["schema"] != SCHEMA:
        raise ValueError(f"it is of another schema than {SCHEMA}")
    run, complete = found["run"], found["complete"]
    if not (isinstance(run, str) and _RUN.fullmatch(run)):
        raise ValueError("no run can be called so")
    if not isinstance(complete, bool):
        raise TypeError("`complete` is no truth")
    segments = tuple(
        _segment(one, run, number) for number, one in enumerate(found["segments"], 1)
    )
    return Manifest(run, complete, segments)


def _segment(found: Any, run: str, number: int) -> Segment:
    one = Segment(*(found[name] for name in _FIELDS))
    if one.number != number or one.file != segment_name(run, number):
        raise ValueError(f"segment {number} is not called {segment_name(run, number)}")
    if not (_is_count(one.records) and _is_count(one.bytes)):
        raise ValueError(f"segment {number} has no such numbers")
    seqs: list[object] = [one.first_seq, one.last_seq]
    if not all(map(_is_count, seqs)) if one.records else seqs != [None, None]:
        raise ValueError(f"segment {number} has no such `first_seq` or `last_seq`")
    if not _is_digest(one.blake3) or (one.head is None) is not (one.records == 0):
        raise ValueError(f"segment {number} has no such digests")
    if one.head is not None and not _is_digest(one.head):
        raise ValueError(f"segment {number} has no such `head`")
    return one


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _malformed(why: str) -> EvidenceError:
    return EvidenceError(
        f"the manifest is malformed: {why}", "restore it, or verify the segments alone"
    )
