"""Check the files of a run against one another, and against their manifest.

Each finding begins with a word of its own: missing, extra, swapped, reordered,
truncated, changed, foreign.
"""

from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson

from egressmon.evidence.manifest import Manifest, Segment, named, segment_name
from egressmon.values import dataclass
from egressmon.verifying.findings import Findings, Kind
from egressmon.verifying.sequence.envelope import head_of, run_of
from egressmon.verifying.sequence.lines import Measured, Place

_NO_END = "the run has no end: it goes on, or egressmon was killed"
Json = dict[str, Any]
Word: TypeAlias = Literal[
    "missing", "extra", "swapped", "reordered", "truncated", "changed", "foreign"
]


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one run's evidence, in their order."""

    paths: tuple[str, ...]
    manifest_path: str | None = None
    manifest: Manifest | None = None
    """None: there is none, or it is malformed."""
    is_all: bool = False
    """Whether they are all that there are, and not those that somebody named."""

    @property
    def are_segments(self) -> bool:
        """Whether they were written as segments, as far as is known."""
        return len(self.paths) > 1 or self.manifest_path is not None


@dataclass(frozen=True, slots=True)
class First:
    """What the first line of a file says of it."""

    run: str
    number: int | None
    """Which segment it is, 1 where a run begins; None: it says nothing of it."""


def first_of(line: bytes) -> First | None:
    """Return what the first `line` of a file says; None: it is no record's."""
    head = head_of(line.partition(b',"prev":')[0])
    run = run_of(head.own) if head is not None else None
    if head is None or run is None:
        return None
    number = 1 if head.kind == "run.start" else None
    if head.kind == "segment":
        number = _number(line)
    return First(run, number)


def _number(line: bytes) -> int | None:
    try:
        number = orjson.loads(line)["number"]
    except (ValueError, LookupError, TypeError):
        return None
    return number if type(number) is int and number > 1 else None


class Parts:
    """Compares each file with what the next one, and the manifest, say of it."""

    def __init__(self, files: Files, findings: Findings) -> None:
        self._files = files
        self._findings = findings
        segments = files.manifest.segments if files.manifest is not None else ()
        self._listed = {one.file: one for one in segments}
        self._by_digest = {one.blake3: one.file for one in segments}
        self._before: tuple[str, Measured] | None = None
        """The file before, and its measures, if this one follows on it."""
        self._told: set[str] = set()
        """Of which files it is said already that they are others."""
        self._has_told = False
        self._path = ""
        self.first_seq = 0
        """The number of the file's first record, in the run."""
        self._numbers = (0, 0)
        """The least and the greatest number of a file so far."""
        self._count = 0
        self.number = 0
        """Of the file that is read."""
        self.is_broken = False
        """Whether a file is not there before the last one."""

    @property
    def lacks_more(self) -> bool:
        """Whether the manifest lists files after the last one that was read."""
        return self.number < len(self._listed)

    def finish(self, last: Place, *, has_end: bool) -> bool:
        """Note what is missing after the last line; return whether it is but a part."""
        manifest = self._files.manifest
        is_part = self.is_broken or (not has_end and self.lacks_more)
        if is_part:
            self._tell_part()
        elif not has_end:
            self._findings.add("truncated", _NO_END, last.number, last.offset)
        if manifest is not None and not is_part and manifest.complete is not has_end:
            what = "says that the run has its end, and it has none"
            if has_end:
                what = f"{_NO_END}, says the manifest; the end itself is there"
            kind: Kind = "truncated" if has_end else "manifest"
            self._findings.add(kind, what, path=self._files.manifest_path)
        return is_part

    def _tell_part(self) -> None:
        if self._files.is_all and self._has_told:
            return
        first, last = min(self._numbers), max(self._numbers)
        which = f"segments {first} to {last}" if last > first else f"segment {last}"
        if last - first >= self._count:
            which = f"{self._count} of {which}"
        listed = f" of {len(self._listed)}" if self._listed else ""
        what = (
            f"is a part of the run, {which}{listed}: its lines, their chain and what "
            "they refer to were verified, and no counter of the run"
        )
        self._findings.add("part", what)

    def look_for_missing(self) -> None:
        """Note which files of the run are not there, and which are there besides."""
        if not (self._files.is_all and self._files.are_segments):
            return
        there = [found for one in self._files.paths if (found := _named(one))]
        numbers = {number for _, number in there}
        listed = {one.number for one in self._listed.values()}
        run = there[0][0] if there else ""
        last = max(numbers | listed, default=0)
        if last > 2 * (len(numbers) + len(listed)):  # nobody's: do not list a million
            last = len(numbers | listed)
        for number in range(1, last + 1):
            if number not in numbers:
                name = segment_name(run, number)
                self._tell("missing", f"{name} is not there", None)
        manifest = self._files.manifest
        if manifest is None or not manifest.complete:
            return
        for path in self._files.paths:
            if Path(path).name not in self._listed:
                self._tell("extra", "the manifest does not list it", path)

    def begin(self, path: str, line: bytes, run: str | None, seq: int) -> bool:
        """Begin with the file at `path`, whose first line is `line`.

        `run` is that of the files before it, and `seq` the number of the next record.
        Returns whether it follows on the file before.
        """
        first = first_of(line)
        said = first.number if first is not None else None
        if first is not None:
            self._identify(path, first, run)
        follows = said in {None, self.number + 1}
        if said is not None and self.number and said <= self.number:
            self._tell("reordered", f"segment {said} is after {self.number}", path)
        if not follows:
            self._before = None
            self.is_broken = True
        self.number = said or self.number + 1
        self._count += 1
        least, most = self._numbers
        self._numbers = min(least or self.number, self.number), max(most, self.number)
        self._path, self.first_seq = path, seq
        return follows

    def _identify(self, path: str, first: First, run: str | None) -> None:
        name, manifest = _named(path), self._files.manifest
        if run is None and manifest is not None:
            run = manifest.run
        if run is not None and first.run != run:
            self._tell("foreign", f"it is of another run, {first.run}", path)
        elif (
            name is not None
            and name[0] == first.run
            and first.number not in {None, name[1]}
        ):
            self._tell("swapped", f"it holds segment {first.number}", path)

    def begins_with(self, record: Json, place: Place) -> None:
        """Compare the `segment` record, in its place, with the file before it."""
        run, number = record["run"], record["number"]
        if record["before"] != segment_name(run, number - 1):
            what = f"says that {record['before']} was before it"
            self._findings.add("schema", what, place.number, place.offset)
        if self._before is None:
            return
        path, measured = self._before
        if measured.records < record["before_records"]:
            what = f"segment {number} says that it has {record['before_records']}"
            self._tell("truncated", f"has {measured.records} records, and {what}", path)
        elif measured.digest() != record["before_digest"]:
            self._tell("changed", f"is not what segment {number} says", path)

    def end(self, measured: Measured, head: str | None) -> None:
        """End the file with these measures, whose last line has the digest `head`."""
        self._before = self._path, measured
        listed = self._listed.get(Path(self._path).name)
        if listed is not None:
            self._compare(listed, measured, head)

    def _compare(self, listed: Segment, measured: Measured, head: str | None) -> None:
        digest = measured.digest()
        if digest == listed.blake3:
            count, first = measured.records, self.first_seq
            seqs = (first, first + count - 1) if count else (None, None)
            found = (count, measured.size, *seqs, head)
            said = (
                listed.records, listed.bytes, listed.first_seq, listed.last_seq,
                listed.head,
            )  # fmt: skip
            if found != said:
                what = f"it has other numbers of {listed.file} than the file: {found}"
                self._findings.add("manifest", what, path=self._files.manifest_path)
        elif digest in self._by_digest:
            what = f"it holds what the manifest lists as {self._by_digest[digest]}"
            self._tell("swapped", what, self._path)
        elif measured.size < listed.bytes:
            what = f"has {measured.size} bytes, and the manifest {listed.bytes}"
            self._tell("truncated", what, self._path)
        else:
            self._tell("changed", "is not what the manifest says", self._path)

    # Of one file it is said once that it is another.
    def _tell(self, word: Word, what: str, path: str | None) -> None:
        if path is not None and path in self._told:
            return
        if path is not None:
            self._told.add(path)
        self._has_told = True
        where = path or self._files.manifest_path
        self._findings.add("segment", f"{word}: {what}", path=where)


def _named(path: str) -> tuple[str, int] | None:
    return named(Path(path).name)
