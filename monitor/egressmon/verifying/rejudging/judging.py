"""Judge each record again: does its verdict follow from it, under the run's policy?

Some verdicts rest on what only the kernel or the machine knew: who listens at an
address of its own, what /etc/hosts said. Those are counted by what they rest on. What
follows neither from the record nor from such a thing is wrong.
"""

import ipaddress
from collections.abc import Iterator
from typing import Any, cast

import orjson

from egressmon.attribution.result import Attribution, Ground
from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.code import ClaimRecord
from egressmon.naming.asked import AskedBy
from egressmon.naming.names import Name, Source, names_for_verdict
from egressmon.policy.judging.judge import Judge, Verdict
from egressmon.policy.judging.pointers import Address, pointed_address
from egressmon.policy.judging.questions import Asked, Destination, Listener, Origin
from egressmon.sanitise.counting import MASK
from egressmon.text import escape, unescape
from egressmon.values import dataclass
from egressmon.verdicts import unasked
from egressmon.verdicts.guards import Guarded
from egressmon.verdicts.origins import origin_of
from egressmon.verdicts.unjudged import unjudged
from egressmon.verdicts.unsent import excused, is_for_documentation
from egressmon.verifying.records.facts import File
from egressmon.verifying.rejudging.learned import Learned
from egressmon.verifying.rejudging.places import HOME as MACHINE
from egressmon.verifying.rejudging.places import Places
from egressmon.verifying.rejudging.relayed import Begun
from egressmon.verifying.rejudging.rules import by_address, unknown_rule

Json = dict[str, Any]
RECEIVER = "who receives at a loopback address (the kernel's word)"
OWN_ADDRESS = (
    "that an address was the machine's own, and who receives there (the kernel's word)"
)
RELAYED = "that a helper repeats a container's connection (the kernel's word)"
UNASKED = "that the kernel itself sent it (the kernel's word)"
UNSENT = "that no packet of it left (the kernel's word)"
HOSTS = "names from the machine's /etc/hosts or resolver"
MASKED = "texts that are masked or cut"
PACKET = "the bytes of a DNS message"
_RESTS_ON = (
    "op", "protocol", "dst", "verdict", "rule", "reason", "route", "route_reason",
    "bypass", "claimed",
)  # fmt: skip
_INPUTS = ("dst.names", "claimed", "name", "answers")
_REFUSED = frozenset({"violation", "recorded"})
_MAX_MADE_BYTES = 8 << 20
_ENTRY_BYTES = 500  # about what else each takes
_LISTENERS: tuple[Listener, ...] = ("scope", "nobody", "outside", "unknown")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of judging a record again."""

    wrong: str | None = None
    """Why its verdict does not follow; None: it does, or rests on `resting`."""
    resting: str | None = None
    """On what it rests that no record has."""
    is_certain: bool = False
    """Whether it is wrong even if other records are not in the evidence."""


SAME = Outcome()


class Rejudging:
    """Judges the records of one run again, in their order."""

    def __init__(self, judge: Judge, places: Places, *, may_translate: bool) -> None:
        """`may_translate`: the command itself may have had its packets sent elsewhere.

        `places` have what the look-ups so far say.
        """
        self.home = judge
        self._places = places
        self._judge, self._learned = judge, Learned()
        self._may_translate = may_translate
        self._made: dict[tuple[bytes, str | None, tuple[File, ...]], Outcome] = {}
        self._version, self._bytes = places.version, 0
        self._begun = Begun()

    def connection(
        self, record: Json, exe: str | None, files: tuple[File, ...]
    ) -> Outcome:
        """Judge a connection that the program `exe` made by way of `files`."""
        if record.get("relayed") is not None:
            why = self._begun.why_not(record)
            return Outcome(wrong=why, resting=None if why else RELAYED)
        self._begun.add(record)
        self._enter(record)
        if self._places.version != self._version or self._bytes > _MAX_MADE_BYTES:
            self._version, self._bytes = self._places.version, 0
            self._made.clear()
        key = _key(record), exe, files
        made = self._made.get(key)
        if made is None:
            made = self._judged(record, exe, files)
            if made.wrong is None:
                self._made[key] = made
                self._bytes += len(key[0]) + _ENTRY_BYTES
        return made

    # What follows is judged as where the record's process is.
    def _enter(self, record: Json) -> None:
        place = record.get("place", MACHINE)
        self._judge = self._places.judge(place, self.home)
        self._learned = self._places.at(place)

    def _judged(
        self, record: Json, exe: str | None, files: tuple[File, ...]
    ) -> Outcome:
        names = _names(record)
        origin = _origin(record, exe, files)
        for listener in (None, *_LISTENERS):
            verdict = self._unjudged(
                self._connection(record, names, origin, listener), record
            )
            if _is_same(record, verdict):
                return self._reached(record, names, listener)
        if _is_unasked(record):
            return Outcome(resting=UNASKED)
        if self._is_unsent(record, names, origin):
            return Outcome(resting=UNSENT)
        if certain := self._certainly_wrong(record):
            return certain
        texts = [exe, *(one.name for one in names)]
        texts += [text for one in files for text in (one.path, one.package)]
        if _is_hidden(texts, record):
            return Outcome(resting=MASKED)
        verdict = self._connection(record, names, origin, None)
        return _wrong(record, self._unjudged(verdict, record))

    def _is_unsent(self, record: Json, names: list[Name], origin: Origin) -> bool:
        address = ipaddress.ip_address(record["dst"]["ip"])
        if record["op"] == "accept" or not is_for_documentation(address):
            return False
        judged = excused(self._connection(record, names, origin, None))
        return judged is not None and _is_same(record, judged)

    # What neither a masked text nor a record that is not there can be the reason of.
    def _certainly_wrong(self, record: Json) -> Outcome | None:
        if (why := unknown_rule(self._judge, record)) is not None:
            return Outcome(wrong=why, is_certain=True)
        if record["type"] != "connection":
            return None
        verdict = by_address(self._judge, record)
        if verdict is None or _is_same(record, verdict):
            return None
        return Outcome(wrong=_wrong(record, verdict).wrong, is_certain=True)

    def _reached(
        self, record: Json, names: list[Name], listener: Listener | None
    ) -> Outcome:
        address = record["dst"]["ip"]
        if listener is not None:
            is_loopback = ipaddress.ip_address(address).is_loopback
            return Outcome(resting=RECEIVER if is_loopback else OWN_ADDRESS)
        if record["verdict"] in _REFUSED or record["op"] == "accept":
            return SAME
        meant = {*names_for_verdict(names)}
        for one, name in zip(record["dst"]["names"], names, strict=True):
            if name.source != "dns" or name.name not in meant:
                continue
            if not self._learned.has(one["name"], address):
                told = "no trusted look-up before it says so"
                return Outcome(wrong=f"{one['name']} is no name of {address}: {told}")
        known = any(one.source != "dns" for one in names if one.name in meant)
        rests = known and record["rule"] not in {None, "dns.resolvers"}
        return Outcome(resting=HOSTS) if rests else SAME

    def _connection(
        self,
        record: Json,
        names: list[Name],
        origin: Origin,
        listener: Listener | None,
    ) -> Verdict:
        target = self._target(record, names, listener)
        if record["op"] == "accept":
            address = cast("Address", target.address)
            return self._judge.accepted(address, is_local=listener is not None)
        return self._judge.sent(target, origin, may_translate=self._may_translate)

    def _unjudged(self, verdict: Verdict, record: Json) -> Verdict:
        return unjudged(verdict, record.get("origin"), self._judge.policy)

    # As verdicts/connections.py has it.
    def _target(
        self, record: Json, names: list[Name], listener: Listener | None
    ) -> Destination:
        dst, aliases = record["dst"], self._learned.aliases
        meant = names_for_verdict(names)
        known = tuple(name.name for name in names)
        others = (one for one in known if one not in meant)
        origins = aliases.origins(meant)
        return Destination(
            ipaddress.ip_address(dst["ip"]),
            dst["port"],
            record["protocol"],
            meant,
            listener,
            origins=origins,
            targets=(*aliases.targets(known), *others),
            absent=tuple(self._absent((*meant, *origins))),
            translated=_translated(record, listener),
        )

    def _absent(self, names: tuple[str, ...]) -> Iterator[str]:
        for name in names:
            for short in self._judge.search.shorter(name):
                if short in self._learned.absent:
                    yield short

    def look_up(self, record: Json) -> Outcome:
        """Judge a look-up; then its answer may be learned from."""
        self._enter(record)
        if record["name"] is None:
            return self._of_no_message(record)
        name = unescape(record["name"])
        resolver = ipaddress.ip_address(record["resolver"])
        if record["trusted"] and resolver not in self._judge.resolvers:
            return Outcome(wrong=f"it is trusted, and {resolver} is no resolver's")
        origins = self._learned.aliases.origins((name,))
        verdict = self._queried(record, name, resolver, Asked(origins))
        if _is_same(record, verdict, may_go_on=True):
            return SAME
        if self._rests_on_packet(record):
            return Outcome(resting=PACKET)
        if certain := self._certainly_wrong(record):
            return certain
        hidden = _is_hidden([name], record)
        rests = Outcome(resting=MASKED) if hidden else None
        return rests or self._pointer(record, name, resolver) or _wrong(record, verdict)

    def _queried(
        self, record: Json, name: str, resolver: Address, asked: Asked
    ) -> Verdict:
        return self._unjudged(self._judge.query(name, resolver, asked), record)

    # A violation by no rule is one for what is in the message, and so is one that is
    # not judged as the policy says.
    def _rests_on_packet(self, record: Json) -> bool:
        unruled = self._unjudged(Verdict("violation", None, ""), record)
        return (record["verdict"], record["rule"]) == (unruled.word, unruled.rule)

    def _of_no_message(self, record: Json) -> Outcome:
        if self._rests_on_packet(record):
            return Outcome(resting=PACKET)
        return Outcome(wrong="it has no name, and is no violation")

    # A look-up of the name of an address that the run knew by a name.
    def _pointer(self, record: Json, name: str, resolver: Address) -> Outcome | None:
        address = pointed_address(name)
        if address is None:
            return None
        origins = self._learned.aliases.origins((name,))
        asked = Asked(origins, is_learned=True)
        verdict = self._queried(record, name, resolver, asked)
        if not _is_same(record, verdict, may_go_on=True):
            return None
        known = self._learned.knows(str(address))
        return SAME if known else Outcome(resting=HOSTS)


# A process could have sent whatever else says so.
def _is_unasked(record: Json) -> bool:
    return (
        (record["op"], record["process"]) == ("packet", None)
        and record["protocol"] in unasked.PROTOCOLS
        and _is_same(record, Verdict("local", None, unasked.REASON))
    )


# All that a verdict on a connection rests on, but for what made it.
def _key(record: Json) -> bytes:
    parts = [record[name] for name in _RESTS_ON]
    parts += [record["process"] is None, "cut" in record]
    parts += [record.get("place", MACHINE), record.get("origin")]
    parts += [record.get("guard"), record.get("guard_reason")]
    return orjson.dumps(parts)


def _names(record: Json) -> list[Name]:
    return [
        Name(
            unescape(one["name"]),
            cast("Source", one["source"]),
            cast("AskedBy | None", one["asked_by"]),
        )
        for one in record["dst"]["names"]
    ]


def _translated(record: Json, listener: Listener | None) -> Destination | None:
    found = record["dst"]["translated"]
    if found is None:
        return None
    address = ipaddress.ip_address(found["ip"])
    return Destination(address, found["port"], record["protocol"], listener=listener)


def _origin(record: Json, exe: str | None, files: tuple[File, ...]) -> Origin:
    process = record["process"]
    actor = None
    if process is not None:
        actor = Actor(process["pid"], 0, None, 0, "", exe, None, [])
    source = Attribution(
        None,
        None,
        record["route"],
        record["route_reason"],
        record["bypass"],
        tuple(Ground(one.field, one.path, one.package, None) for one in files),
    )
    claims = (ClaimRecord(one["field"], one["reason"]) for one in record["claimed"])
    guard = Guarded(record.get("guard"), record.get("guard_reason"))
    return origin_of(actor, source, claims, guard)


def _is_same(record: Json, verdict: Verdict, *, may_go_on: bool = False) -> bool:
    if (record["verdict"], record["rule"]) != (verdict.word, verdict.rule):
        return False
    found, reason = record["reason"], escape(verdict.reason)
    if found == reason or (may_go_on and found.startswith(f"{reason}; ")):
        return True
    # What is left of a reason must still be that of this verdict.
    if "reason" in record.get("cut", ()):
        return reason.startswith(found.removesuffix("…"))
    return MASK in found and found.partition(MASK)[0] in reason


# Whether what the verdict rested on cannot be read any more.
def _is_hidden(texts: list[str | None], record: Json) -> bool:
    if any(one.startswith(_INPUTS) for one in record.get("cut", ())):
        return True
    return any(MASK in text for text in texts if text is not None)


def _wrong(record: Json, verdict: Verdict) -> Outcome:
    found = _shown(record["verdict"], record["rule"], record["reason"])
    wanted = _shown(verdict.word, verdict.rule, verdict.reason)
    return Outcome(wrong=f"its verdict is {found}; judged again, it is {wanted}")


def _shown(word: str, rule: str | None, reason: str) -> str:
    return f"{word} by {rule} ({reason})" if rule else f"{word} ({reason})"
