"""Verify the evidence of one run, line by line, in bounded memory."""

from typing import Any

from egressmon.evidence.gate import MAX_RECORD
from egressmon.evidence.records import SCHEMA
from egressmon.evidence.segmented import LOST
from egressmon.sensor.blind_spots import KnownBlindSpot
from egressmon.verifying.findings import Findings, UnreadableError, Verified
from egressmon.verifying.rejudging.judging import Rejudging
from egressmon.verifying.rejudging.policies import NoPolicyError, Policies
from egressmon.verifying.sequence.beats import BEATING, Beats
from egressmon.verifying.sequence.chain import NUMBER, Chain, OnHead
from egressmon.verifying.sequence.counting import why_no_status
from egressmon.verifying.sequence.envelope import Head, schema_number
from egressmon.verifying.sequence.lines import Measured, Place, lines_in
from egressmon.verifying.sequence.parts import Files, Parts
from egressmon.verifying.sequence.reloads import Reloads
from egressmon.verifying.walking.examining import Examining

Json = dict[str, Any]
_MAX_SILENCES = 100


class EvidenceFile:
    """The evidence of a run, as far as it was read: a file, or several segments."""

    def __init__(
        self,
        path: str,
        policies: Policies,
        on_head: OnHead | None = None,
        files: Files | None = None,
    ) -> None:
        """`policies` are those by which the run may have been judged.

        `files` are all that are to be read, of which `path` is the first.
        """
        self._files = files or Files((path,))
        self.findings = Findings(path)
        self.verified = Verified(path, more=list(self._files.paths[1:]))
        if self._files.manifest_path is not None:
            self.verified.more.append(self._files.manifest_path)
        self._judged = Findings(path)
        self._policies = policies
        self._examining = Examining(self.findings, self._judged)
        self._parts = Parts(self._files, self.findings)
        self._reloads = Reloads()
        self._beats = Beats()
        self._chain = Chain(self.findings, self, on_head)
        self._start: Json | None = None
        self._end: Json | None = None
        self._after_end = False

    def verify(self) -> None:
        """Read all to the end; raises UnreadableError if it is none of ours."""
        self._parts.look_for_missing()
        last = Place(0, 0)
        for path in self._files.paths:
            self.findings.path = self._judged.path = path
            last = self._read_file(path)
        self._finish(last)

    def _read_file(self, path: str) -> Place:
        measured = Measured(digests=self._files.are_segments)
        place = Place(0, 0)
        for place, line, is_ended in lines_in(path, measured):
            if place.number == 1:
                self._begin_file(path, line)
            if not is_ended:
                self._cut_off(place, line)
                continue
            self._chain.take(line, place)
        if not place.number:
            self._empty(path)
        self.verified.size += measured.size
        self.verified.records += measured.records
        head = self._chain.head if measured.records else None
        self._parts.end(measured, f"blake3:{head}" if head is not None else None)
        return place

    def _begin_file(self, path: str, line: bytes) -> None:
        if len(self._files.paths) == 1:
            _require_ours(path, line)
        before = self._chain.run
        if not self._parts.begin(path, line, before, self._chain.next):
            self._chain.begin_at(line)
            self._parts.first_seq = self._chain.next
            self._beats.forget()
            if before is None:
                self.verified.first = self._chain.next
        if self._parts.number > 1:
            self._examining.forget_values()

    def _empty(self, path: str) -> None:
        if len(self._files.paths) == 1:
            raise UnreadableError(
                f"{path} is empty", "the run was ended before it began"
            )
        self._parts.begin(path, b"", self._chain.run, self._chain.next)
        if path != self._files.paths[-1]:  # the last is, if egressmon was killed there
            self.findings.add("segment", "truncated: is empty")

    def _cut_off(self, place: Place, line: bytes) -> None:
        self.verified.is_cut = True
        what = "is cut off: whoever wrote it was ended; what is before it was verified"
        if len(line) > MAX_RECORD:
            what = f"has no end, and more than {MAX_RECORD} bytes: it is no record"
        self.findings.add("truncated", what, place.number, place.offset)

    def is_known(self, kind: bytes, own: bytes, body: bytes, time: bytes) -> bool:
        """Count a record that is as an earlier one; False: it is not."""
        return self._examining.is_known(kind, own, body, time)

    def read(self, head: Head, line: bytes, body: bytes, place: Place) -> None:
        """Look at a record that may be like no other."""
        kind = head.kind
        if self._end is not None and not self._after_end:
            self._after_end = True
            what = "comes after the end of the run"
            self.findings.add("sequence", what, place.number, place.offset)
        if (misplaced := self._misplaced(kind, place)) is not None:
            self.findings.add("sequence", misplaced, place.number, place.offset)
        record = self._examining.examine(head, line, body, place)
        if record is None:
            return
        if kind == "run.start" and self._start is None:
            self._begin(record)
        elif kind == "segment" and place.number == 1:
            self._parts.begins_with(record, place)
        elif kind in BEATING:
            self._note_beat(record, place)
        elif kind == "policy":
            self._reload(record, place)
        elif kind == "run.end":
            self._end = record

    def _misplaced(self, kind: str, place: Place) -> str | None:
        if place.number > 1:
            what = {"run.start": "begins a run, inside another"}
            return (what | {"segment": "begins a segment, inside a file"}).get(kind)
        if self._parts.number == 1:
            is_right = kind == "run.start"
            return None if is_right else "is no run.start, with which a run begins"
        if kind == "run.start":
            return "begins a run, inside another"
        is_right = kind == "segment"
        return None if is_right else "is no segment record, with which a file goes on"

    def _begin(self, start: Json) -> None:
        self._start = start
        self._beats.begin(start)
        self.verified.policy_digest = start["policy_digest"]
        self.verified.policy_kind = start.get("policy_kind")
        self.verified.egressmon = start["egressmon"]
        self.verified.began = start["time"]
        self.verified.policy_digests = [start["policy_digest"]]
        self._judge_by(start, Place(1, 0))

    # The judge of what follows, under the policy that `start` names.
    def _judge_by(self, start: Json, place: Place) -> None:
        may = KnownBlindSpot.KERNEL_NETWORKING.value.name
        self._examining.rejudging = None
        try:
            judge = self._policies.judge(start)
            if judge.policy.enforce != start["enforce"]:
                self.verified.remarks.append(
                    f"its policy has enforce = {judge.policy.enforce}, and it was run "
                    f"with {start['enforce']}"
                )
            self._examining.rejudging = Rejudging(
                judge,
                self._examining.places,
                may_translate=any(one["name"] == may for one in start["blind_spots"]),
            )
        except NoPolicyError as error:
            self.verified.unjudged = str(error)
        except ValueError as error:
            what = f"its resolvers: {error}"
            self.findings.add("policy", what, place.number, place.offset)

    def _note_beat(self, record: Json, place: Place) -> None:
        before, head = record.get("before"), record.get("before_head")
        if before is not None and head is not None:
            self.verified.follows = before, head
        silence = self._beats.take(record)
        doubts, remarks = self._examining.counts.doubts, self.verified.remarks
        if silence is None or len(doubts) >= _MAX_SILENCES:
            return
        doubts[silence] += 1
        remarks.append(f"line {place.number}: {silence}")

    # Nothing that was found out so far is of the policy that follows.
    def _reload(self, record: Json, place: Place) -> None:
        self._examining.finish()
        self._examining.places.forget_judges()
        for what in self._reloads.take(record, self._examining.counts):
            self._judged.add("policy", what, place.number, place.offset)
        self.verified.policy_digests.append(record["policy_digest"])
        if self._start is not None:
            names = ("policy_digest", "resolvers")
            self._judge_by(self._start | {one: record[one] for one in names}, place)

    def _finish(self, last: Place) -> None:
        self._examining.finish()
        verified = self.verified
        verified.run = self._chain.run
        verified.is_converted = self._chain.is_converted
        head = self._chain.head
        verified.head = f"blake3:{head}" if head is not None else None
        verified.next = self._chain.next
        has_end = self._end is not None
        verified.is_part = self._parts.finish(last, has_end=has_end)
        if not verified.is_part:
            verified.records = verified.next
        if self._end is not None:
            self._conclude(self._end, last)
        if self._start is None:
            verified.unjudged = verified.unjudged or "it has no run.start"
        self._tell_judged()

    def _conclude(self, end: Json, last: Place) -> None:
        verified, counts = self.verified, self._examining.counts
        verified.verdict, verified.complete = end["verdict"], end["complete"]
        verified.exit_status = end["exit_status"]
        verified.unproven = list(counts.unproven(end))
        if verified.is_part:  # the records of the others are counted, too
            verified.unproven.append("it is a part of a run")
            return
        for what in counts.differences(end):
            self.findings.add("counters", what, last.number, last.offset)
        first = self._start["policy_digest"] if self._start is not None else None
        for what in self._reloads.differences(end, first, counts):
            self._judged.add("counters", what, last.number, last.offset)
        for what in counts.overclaims(end):
            self.findings.add("criteria", what, last.number, last.offset)
        enforce = self._start["enforce"] if self._start is not None else "report"
        if self._start is not None and (why := why_no_status(end, enforce)):
            self.findings.add("criteria", why, last.number, last.offset)

    # What is not in the evidence may be what a verdict rests on.
    def _tell_judged(self) -> None:
        verified, found = self.verified, self._judged
        for resting, count in self._examining.judgements.items():
            if resting is None:
                verified.judged += count
            else:
                verified.resting[resting] += count
        left_out = verified.is_part or bool(self._examining.counts.losses[LOST])
        if self._end is not None and self._end["losses"].get("left_out"):
            left_out = True
        if left_out or self._examining.places.forgotten:
            count = len(found.found) + sum(found.more.values())
            if count:
                verified.resting["records that are not in the evidence"] += count
            return
        self.findings.found += found.found
        self.findings.more += found.more


def _require_ours(path: str, line: bytes) -> None:
    number = schema_number(line)
    if number is None:
        if line.startswith(b'{"schema":'):
            return  # a damaged line: it is said which byte is wrong
        raise UnreadableError(
            f"{path} is no evidence: its first line names no schema",
            "name a file that `--evidence` wrote",
        )
    if number > NUMBER:
        raise UnreadableError(
            f"{path} is of the schema egressmon/{number}, and this egressmon knows "
            f"{SCHEMA}",
            "verify it with the egressmon that wrote it, or a newer one",
        )
    if number < NUMBER:
        raise UnreadableError(
            f"{path} is of the older schema egressmon/{number}; this egressmon "
            f"verifies {SCHEMA}",
            "verify it with the egressmon that wrote it",
        )
