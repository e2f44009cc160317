"""Verify one file of evidence, line by line, in bounded memory."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from blake3 import blake3

from egressmon.evidence.gate import MAX_RECORD
from egressmon.evidence.records import SCHEMA
from egressmon.files.bounded import open_regular
from egressmon.sensor.blind_spots import KnownBlindSpot
from egressmon.verifying.counting import why_no_status
from egressmon.verifying.envelope import HEAD, Head, head_of, run_of, schema_number
from egressmon.verifying.examining import Examining, Place
from egressmon.verifying.findings import Findings, UnreadableError, Verified
from egressmon.verifying.judging import Rejudging
from egressmon.verifying.policies import NoPolicyError, Policies

Json = dict[str, Any]
_CHUNK = 1 << 20
_MARK = b"\xef\xbb\xbf"
_NUMBER = int(SCHEMA.rpartition("/")[2])
OnHead = Callable[[int, str], None]
"""Is called with the number of each record, and the digest of its line."""


class EvidenceFile:
    """A file of evidence, as far as it was read."""

    def __init__(
        self, path: str, policies: Policies, on_head: OnHead | None = None
    ) -> None:
        """`policies` are those by which the run may have been judged."""
        self.findings = Findings(path)
        self.verified = Verified(path)
        self._judged = Findings(path)
        self._policies = policies
        self._on_head = on_head
        self._examining = Examining(self.findings, self._judged)
        self._chain = b',"prev":null,'
        """What each line must have between its envelope and its record."""
        self._head: str | None = None
        self._next = 0
        self._own: bytes | None = None
        self._start: Json | None = None
        self._end: Json | None = None
        self._after_end = False
        self._conversions: set[str] = set()

    def verify(self) -> None:
        """Read the file to its end; raises UnreadableError if it is none of ours."""
        place = Place(0, 0)
        for place, line, is_ended in self._lines():
            if place.number == 1:
                self._require_ours(line)
            if not is_ended:
                self._cut_off(place, line)
                continue
            self._take(place, line)
        if not place.number:
            raise UnreadableError(
                f"{self.verified.path} is empty", "the run was ended before it began"
            )
        self._finish(place)

    # Yields each line without its newline, and whether it has one. Of one that is too
    # long, only the beginning is kept.
    def _lines(self) -> Iterator[tuple[Place, bytes, bool]]:
        path, number, offset = self.verified.path, 0, 0
        try:
            with os.fdopen(open_regular(path), "rb", buffering=_CHUNK) as file:
                while data := file.readline(MAX_RECORD + 2):
                    number += 1
                    is_ended, size = data.endswith(b"\n"), len(data)
                    while not is_ended and (more := file.readline(_CHUNK)):
                        is_ended = more.endswith(b"\n")
                        size += len(more)
                    line = data[:-1] if data.endswith(b"\n") else data
                    yield Place(number, offset), line, is_ended
                    offset += size
                    self.verified.size = offset
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UnreadableError(
                f"{path} cannot be read: {reason}", "name evidence, or its directory"
            ) from error

    def _require_ours(self, line: bytes) -> None:
        path, number = self.verified.path, schema_number(line)
        if number is None:
            if line.startswith(b'{"schema":'):
                return  # a damaged line: it is said which byte is wrong
            raise UnreadableError(
                f"{path} is no evidence: its first line names no schema",
                "name a file that `--evidence` wrote",
            )
        if number > _NUMBER:
            raise UnreadableError(
                f"{path} is of the schema egressmon/{number}, and this egressmon knows "
                f"{SCHEMA}",
                "verify it with the egressmon that wrote it, or a newer one",
            )
        if number < _NUMBER:
            raise UnreadableError(
                f"{path} is of the older schema egressmon/{number}; this egressmon "
                f"verifies {SCHEMA}",
                "verify it with the egressmon that wrote it",
            )

    def _cut_off(self, place: Place, line: bytes) -> None:
        self.verified.is_cut = True
        what = "is cut off: whoever wrote it was ended; what is before it was verified"
        if len(line) > MAX_RECORD:
            what = f"has no end, and more than {MAX_RECORD} bytes: it is no record"
        self.findings.add("truncated", what, place.number, place.offset)

    # Of most lines, all but number and time are as in an earlier one.
    def _take(self, place: Place, line: bytes) -> None:
        if line.endswith(b"\r") or line.startswith(_MARK):
            line = self._converted(line, place)
        head, _, body = line.partition(self._chain)
        found = HEAD.fullmatch(head) if body else None
        if found is not None:
            kind, number, time, own = found.groups()
            if (
                own == self._own
                and int(number) == self._next
                and self._examining.is_known(kind, own, body, time)
            ):
                self._go_on(line)
                self._next += 1
                return
        self._look_at(line, head, body, place)

    # From here on, a line must name this one.
    def _go_on(self, line: bytes) -> None:
        self._head = blake3(line).hexdigest()
        self._chain = b',"prev":"blake3:' + self._head.encode() + b'",'
        if self._on_head is not None:
            self._on_head(self._next, f"blake3:{self._head}")

    def _look_at(self, line: bytes, head: bytes, body: bytes, place: Place) -> None:
        if not body:
            head, body = self._other_chain(line, place)
        self._go_on(line)
        read = head_of(head)
        if read is None:
            self._misformed(line, place)
            self._next += 1
            return
        if read.seq != self._next:
            what = f"is numbered {read.seq}, and should be {self._next}"
            self.findings.add("sequence", what, place.number, place.offset)
        self._next = read.seq + 1
        if read.own != self._own:
            self._another(read.own, place)
        self._record(read, line, body, place)

    # Some tools write a file anew as they copy it: what was in it can be verified.
    def _converted(self, line: bytes, place: Place) -> bytes:
        what = (
            "ends with CR and LF" if line.endswith(b"\r") else "has a byte order mark"
        )
        self.verified.is_converted = True
        if what not in self._conversions:
            self._conversions.add(what)
            message = f"{what}: the file was converted"
            self.findings.add("schema", message, place.number, place.offset)
        return line.removeprefix(_MARK).removesuffix(b"\r")

    # The line says that another was before it: one was changed, removed or put in.
    def _other_chain(self, line: bytes, place: Place) -> tuple[bytes, bytes]:
        head, found, rest = line.partition(b',"prev":')
        prev, _, body = rest.partition(b",")
        if not found:
            return line, b""
        if head_of(head) is not None:
            said = prev.decode("utf-8", "replace")[:80]
            what = (
                f"says that the line before it is {said}, and that is "
                f"{self._head or 'none'}: one of the two was changed, removed or added"
            )
            self.findings.add("chain", what, place.number, place.offset + len(head) + 1)
        return head, body

    def _misformed(self, line: bytes, place: Place) -> None:
        what = "does not begin as a record does"
        if (number := schema_number(line)) not in {None, _NUMBER}:
            what = f"is of the schema egressmon/{number}, and the first line is not"
        self.findings.add("schema", what, place.number, place.offset)

    def _another(self, own: bytes, place: Place) -> None:
        run = run_of(own)
        if run is None:
            what = "has no run, or no phase"
            self.findings.add("schema", what, place.number, place.offset)
            return
        if self.verified.run is None:
            self.verified.run = run
        elif run != self.verified.run:
            what = f"is of another run, {run}: the file holds more than one"
            self.findings.add("sequence", what, place.number, place.offset)
        self._own = own

    def _record(self, head: Head, line: bytes, body: bytes, place: Place) -> None:
        kind = head.kind
        if self._end is not None and not self._after_end:
            self._after_end = True
            what = "comes after the end of the run"
            self.findings.add("sequence", what, place.number, place.offset)
        if (kind == "run.start") is not (place.number == 1):
            what = "is no run.start, with which a run begins"
            if place.number > 1:
                what = "begins a run, inside another"
            self.findings.add("sequence", what, place.number, place.offset)
        record = self._examining.examine(head, line, body, place)
        if record is None:
            return
        if kind == "run.start" and self._start is None:
            self._begin(record)
        elif kind == "run.end":
            self._end = record

    def _begin(self, start: Json) -> None:
        self._start = start
        self.verified.policy_digest = start["policy_digest"]
        self.verified.policy_kind = start.get("policy_kind")
        self.verified.egressmon = start["egressmon"]
        self.verified.began = start["time"]
        may = KnownBlindSpot.KERNEL_NETWORKING.value.name
        try:
            judge = self._policies.judge(start)
            if judge.policy.enforce != start["enforce"]:
                self.verified.remarks.append(
                    f"its policy has enforce = {judge.policy.enforce}, and it was run "
                    f"with {start['enforce']}"
                )
            self._examining.rejudging = Rejudging(
                judge,
                self._examining.learned,
                may_translate=any(one["name"] == may for one in start["blind_spots"]),
            )
        except NoPolicyError as error:
            self.verified.unjudged = str(error)
        except ValueError as error:
            self.findings.add("policy", f"its resolvers: {error}", 1, 0)

    def _finish(self, last: Place) -> None:
        self._examining.finish()
        verified = self.verified
        verified.records = self._next
        verified.head = f"blake3:{self._head}" if self._head is not None else None
        if self._end is None:
            what = "the run has no end: it goes on, or egressmon was killed"
            self.findings.add("truncated", what, last.number, last.offset)
        else:
            self._conclude(self._end, last)
        if self._start is None:
            verified.unjudged = verified.unjudged or "it has no run.start"
        self._tell_judged()

    def _conclude(self, end: Json, last: Place) -> None:
        verified, counts = self.verified, self._examining.counts
        verified.verdict, verified.complete = end["verdict"], end["complete"]
        verified.exit_status = end["exit_status"]
        verified.unproven = list(counts.unproven(end))
        for what in counts.differences(end):
            self.findings.add("counters", what, last.number, last.offset)
        for what in counts.overclaims(end):
            self.findings.add("criteria", what, last.number, last.offset)
        enforce = self._start["enforce"] if self._start is not None else "report"
        if self._start is not None and (why := why_no_status(end, enforce)):
            self.findings.add("criteria", why, last.number, last.offset)

    # What `--evidence-limit` left out may be what a verdict rests on.
    def _tell_judged(self) -> None:
        verified, found = self.verified, self._judged
        for resting, count in self._examining.judgements.items():
            if resting is None:
                verified.judged += count
            else:
                verified.resting[resting] += count
        left_out = self._end is not None and self._end["losses"].get("left_out")
        if left_out or self._examining.learned.forgotten:
            count = len(found.found) + sum(found.more.values())
            if count:
                verified.resting["records that are not in the evidence"] += count
            return
        self.findings.found += found.found
        self.findings.more += found.more
