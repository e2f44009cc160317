"""Examine the record in a line: its form, its fields, its references, its verdict."""

from typing import Any, cast

import orjson

from egressmon.evidence.gate import MAX_RECORD
from egressmon.verifying.findings import Findings
from egressmon.verifying.records import containers
from egressmon.verifying.records.bounds import beyond
from egressmon.verifying.records.facts import (
    KINDS,
    Fact,
    Facts,
    fact_of,
    has_right_digest,
    references,
)
from egressmon.verifying.records.sense import (
    Once,
    PhaseMarks,
    contradiction,
    has_only_own_escapes,
    other_process,
)
from egressmon.verifying.records.shapes import VERDICTS, shapes
from egressmon.verifying.rejudging.judging import Outcome, Rejudging
from egressmon.verifying.rejudging.places import HOME, Places
from egressmon.verifying.sequence.counting import Counts
from egressmon.verifying.sequence.envelope import Head
from egressmon.verifying.sequence.lines import Place

Json = dict[str, Any]
_JUDGED = frozenset({"connection", "dns"})
_KEPT = frozenset({"connection", "escape"})
_MAX_KEPT = 4096
_MAX_KEPT_BYTES = 4 << 20


class Known:
    """A record that was examined: most lines have the same one as an earlier line."""

    __slots__ = ("outcome", "record", "referred", "times", "version")

    def __init__(
        self,
        record: Json,
        referred: tuple[tuple[str, str], ...],
        version: object,
        outcome: Outcome | None,
    ) -> None:
        """`version` is that of what the run had learned of names by then."""
        self.record = record
        self.referred = referred
        self.version = version
        self.outcome = outcome
        self.times = 0
        """How many lines had it that are counted nowhere yet."""


class Examining:
    """Examines the records of one run, in their order."""

    def __init__(self, findings: Findings, judged: Findings) -> None:
        """`findings` gets what is wrong, and `judged` what may rest on other records.

        That is nothing wrong where the evidence says that some are left out.
        """
        self._findings = findings
        self._judged = judged
        self._known: dict[tuple[bytes, bytes, bytes], Known] = {}
        self._kept = 0
        self._facts = Facts()
        self._once = Once()
        self._phases = PhaseMarks()
        self.places = Places()
        self._containers = containers.MetContainers()
        self.rejudging: Rejudging | None = None
        self.counts = Counts()
        self.judgements: dict[str | None, int] = {}
        """How many verdicts were made again, by what they rest on besides records."""

    def is_known(self, kind: bytes, own: bytes, body: bytes, time: bytes) -> bool:
        """Count the record with these parts of its line, if it is as an earlier one.

        This is the way of most lines. `examine` looks at the others.
        """
        known = self._known.get((kind, own, body))
        if known is None or known.version not in {None, self.places.version}:
            return False
        if not self._phases.fits(known.record["phase"], time.decode()):
            return False
        recent = self._facts.recent
        for _, digest in known.referred:
            if digest not in recent:
                return False
        known.times += 1
        return True

    def examine(
        self, head: Head, line: bytes, body: bytes, place: Place
    ) -> Json | None:
        """Examine the record in `line`, which begins with `head` and ends with `body`.

        Returns it; None if nothing can be said of it.
        """
        kind = head.kind
        record = self._read(line, place)
        if record is None or not self._has_right_fields(kind, record, line, place):
            return None
        self.counts.add(kind, record)
        if (twice := self._once.add(record)) is not None:
            self._wrong("sequence", twice, place)
        if (other := self._phases.add(record)) is not None:
            # A mark may be among what is left out.
            self._judged.add("sequence", other, place.number, place.offset)
        if (lost := self._containers.add(record)) is not None:
            self._judged.add("reference", lost, place.number, place.offset)
        if kind in KINDS:
            self._value(kind, record, body, place)
            return record
        self._refer(head, record, body, place)
        return record

    def forget_values(self) -> None:
        """Forget what was referred to so far: a file has all that it refers to."""
        self._facts = Facts()

    def finish(self) -> None:
        """Count what was not counted yet."""
        self._count_known()

    def _count_known(self) -> None:
        for known in self._known.values():
            self._settle(known)
        self._known.clear()
        self._kept = 0

    def _refer(self, head: Head, record: Json, body: bytes, place: Place) -> None:
        kind, referred = head.kind, tuple(references(record))
        facts = self._resolve(referred, place)
        actors = (fact for (of, _), fact in facts.items() if of == "actor")
        other = other_process(record, next(actors, None))
        if other is not None:
            self._wrong("reference", other, place)
        version = self.places.version if kind in _JUDGED else None
        self._look_at_place(kind, record, place)
        outcome = self._judge(kind, record, facts) if kind in _JUDGED else None
        self._note(outcome, place)
        if kind == "dns":
            self.places.learn(record)
        is_right = other is None and (outcome is None or outcome.wrong is None)
        if kind in _KEPT and is_right and len(facts) == len({*referred}):
            known = Known(record, referred, version, outcome)
            self._keep((kind.encode(), head.own, body), known)

    def _look_at_place(self, kind: str, record: Json, place: Place) -> None:
        if kind in _JUDGED and not self.places.is_known(record.get("place", HOME)):
            message = f"refers to the place {record['place']}, which is not before it"
            self._judged.add("reference", message, place.number, place.offset)
        elif kind == "place":
            home = self.rejudging.home if self.rejudging is not None else None
            try:
                wrong = self.places.tell(record, home)
            except ValueError as error:
                wrong = f"tells of no resolver: {error}"
            if wrong is not None:
                self._judged.add("reference", wrong, place.number, place.offset)

    def _keep(self, key: tuple[bytes, bytes, bytes], known: Known) -> None:
        if len(self._known) >= _MAX_KEPT or self._kept > _MAX_KEPT_BYTES:
            self._count_known()
        before = self._known.get(key)
        if before is not None:
            self._settle(before)
        self._known[key] = known
        self._kept += len(key[2])

    def _settle(self, known: Known) -> None:
        if not known.times:
            return
        self.counts.add(known.record["type"], known.record, known.times)
        if known.outcome is not None:
            self._count(known.outcome.resting, known.times)

    # As egressmon writes it, and in no other spelling: no field is there twice, nothing
    # is hidden from a person who reads it, and no reader takes a number for another.
    def _read(self, line: bytes, place: Place) -> Json | None:
        if len(line) > MAX_RECORD:
            self._wrong("schema", f"is longer than {MAX_RECORD} bytes", place)
            return None
        try:
            record = orjson.loads(line)
            written = orjson.dumps(record, option=orjson.OPT_STRICT_INTEGER)
        except (orjson.JSONDecodeError, TypeError) as error:
            at = place.offset + getattr(error, "pos", 0)
            message = f"is no JSON of a record: {error}"
            self._wrong("schema", message, Place(place.number, at))
            return None
        is_plain = has_only_own_escapes(line) and line.decode().isprintable()
        if written != line or not is_plain:
            at = place.offset + _first_difference(line, written)
            message = "is not in the one form in which egressmon writes a record"
            self._wrong("schema", message, Place(place.number, at))
            return None
        return cast("Json", record)

    def _has_right_fields(
        self, kind: str, record: Json, line: bytes, place: Place
    ) -> bool:
        shape = shapes().get(kind)
        if shape is None:
            complaint: str | None = f" is of the unknown type {kind}"
        else:
            complaint = shape.check(record)
        if complaint is None and kind in _JUDGED and record["verdict"] not in VERDICTS:
            complaint = f"`verdict` is {record['verdict']}, which is none"
        if complaint is None and kind == "connection":
            complaint = contradiction(record)
        if complaint is None and kind == "container":
            complaint = containers.contradiction(record)
        if complaint is None:
            complaint = beyond(kind, record, line)
        if complaint is not None:
            self._wrong("schema", f"({kind}) {complaint.strip()}", place)
        return complaint is None

    def _value(self, kind: str, record: Json, body: bytes, place: Place) -> None:
        if not has_right_digest(body, record):
            self._wrong("reference", f"({kind}) has not the digest that it says", place)
            return
        self._resolve(tuple(references(record)), place)
        self._facts.remember(record["digest"], fact_of(kind, record, len(body)))

    def _resolve(
        self, referred: tuple[tuple[str, str], ...], place: Place
    ) -> dict[tuple[str, str], Fact]:
        found: dict[tuple[str, str], Fact] = {}
        for kind, digest in referred:
            fact = self._facts.get(digest)
            if fact is None or fact.kind != kind:
                message = f"refers to the {kind} {digest}, which is not before it"
                self._judged.add("reference", message, place.number, place.offset)
            else:
                found[kind, digest] = fact
        return found

    def _judge(
        self, kind: str, record: Json, facts: dict[tuple[str, str], Fact]
    ) -> Outcome | None:
        if self.rejudging is None:
            return None
        try:
            if kind == "dns":
                return self.rejudging.look_up(record)
            by_kind = {of: fact for (of, _), fact in facts.items()}
            actor, module = by_kind.get("actor"), by_kind.get("module")
            return self.rejudging.connection(
                record, actor.exe() if actor else None, module.files() if module else ()
            )
        except ValueError as error:  # an address that is none
            return Outcome(wrong=f"it cannot be judged: {error}")

    def _note(self, outcome: Outcome | None, place: Place) -> None:
        if outcome is None:
            return
        if outcome.wrong is not None:
            findings = self._findings if outcome.is_certain else self._judged
            findings.add("verdict", outcome.wrong, place.number, place.offset)
            return
        self._count(outcome.resting, 1)

    def _count(self, resting: str | None, times: int) -> None:
        self.judgements[resting] = self.judgements.get(resting, 0) + times

    def _wrong(self, kind: Any, message: str, place: Place) -> None:
        self._findings.add(kind, message, place.number, place.offset)


def _first_difference(one: bytes, other: bytes) -> int:
    pairs = zip(one, other, strict=False)
    return next(
        (place for place, (left, right) in enumerate(pairs) if left != right),
        min(len(one), len(other)),
    )
