"""Ask a policy about what a record tells of, whatever policy it was judged by."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from egressmon.attribution.result import Attribution, Ground
from egressmon.evidence.records.lasting import PolicyRecord
from egressmon.evidence.records.running import RunStart
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord, PlaceRecord
from egressmon.naming.names import names_for_verdict
from egressmon.policy.judging.judge import Judge, Verdict
from egressmon.policy.judging.pointers import pointed_address
from egressmon.policy.judging.questions import Asked, Destination, Listener, Origin
from egressmon.policy.language.model import Policy
from egressmon.policy.language.search import SearchList
from egressmon.sensor.blind_spots import KnownBlindSpot
from egressmon.values import dataclass
from egressmon.verdicts import unasked, unsent
from egressmon.verdicts.guards import Guarded
from egressmon.verdicts.origins import origin_of
from egressmon.verdicts.unjudged import RULE, WHY, unjudged
from egressmon.verifying.rejudging.places import HOME, Places

Json = dict[str, Any]
_TRANSLATES = KnownBlindSpot.KERNEL_NETWORKING.value.name
_EXCUSED = frozenset({unasked.REASON, unsent.REASON})
# What evidence says of who receives on this machine, in the words of the judge: whole
# reasons, as others have names in them that somebody chose.
_UNCOVERED = ", and no allow entry covers it"
_RECEIVERS: dict[str, Listener] = {
    "a listener inside the scope": "scope",
    "nothing listens there": "nobody",
    f"the listener is outside the scope (a relay?){_UNCOVERED}": "outside",
    f"who listens there could not be determined{_UNCOVERED}": "unknown",
    "loopback is open": "unknown",
    "loopback needs an allow entry": "unknown",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policy says of a connection."""

    verdict: Verdict
    entries: tuple[str, ...] = ()
    """All allow entries that cover it and its maker."""
    refusing: tuple[str, ...] = ()
    """Those that would, if somebody else made it."""
    target: Destination | None = None
    """What was asked; None: the policy speaks of no destination."""
    origin: Origin | None = None
    """Who was said to make it."""


class Questions:
    """Asks `policy` about the records of one run, in their order."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._home = Judge(policy, frozenset())
        self._judges: dict[int, Judge] = {}
        self._places = Places()
        self._may_translate = False
        self._entered = 0

    @property
    def forgotten(self) -> int:
        """How much of what look-ups say was forgotten, being too much."""
        return self._places.forgotten

    @property
    def version(self) -> tuple[int, int]:
        """Another value once a connection might be answered in another way."""
        return self._entered, self._places.version

    def begin(self, start: RunStart) -> None:
        """Take in how names are looked up where the run was made."""
        self._entered += 1
        search = SearchList(tuple(start.search), start.ndots)
        self._home = Judge(self._policy, self._trusted(start.resolvers), search)
        self._may_translate = any(one.name == _TRANSLATES for one in start.blind_spots)

    def _trusted(self, resolvers: list[str]) -> frozenset[Any]:
        named = self._policy.dns.resolvers
        listed = resolvers if named == "system" else named
        return frozenset(map(ipaddress.ip_address, listed))

    def reload(self, record: PolicyRecord) -> None:
        """Take in that the run's policy was read again: places are told of anew."""
        self._entered += 1
        self._home = self._home.at(self._trusted(record.resolvers), self._home.search)
        self._judges.clear()

    def enter(self, place: PlaceRecord) -> None:
        """Take in how names are looked up in another place of the run."""
        search = SearchList(tuple(place.search), place.ndots)
        self._entered += 1
        self._judges[place.number] = self._home.at(
            self._trusted(place.resolvers), search
        )

    def judge(self, place: int | None) -> Judge:
        """Return the judge of `place`."""
        return self._judges.get(HOME if place is None else place, self._home)

    def connection(self, record: ConnectionRecord) -> Answer:
        """Return what the policy says of `record`; raises ValueError for no address."""
        judge = self.judge(record.place)
        address = ipaddress.ip_address(record.dst.ip)
        listener = _receiver(record)
        if record.op == "accept":
            is_local = record.verdict == "local"
            accepted = judge.accepted(address, is_local=is_local)
            return Answer(unjudged(accepted, record.origin, self._policy))
        if record.reason in _EXCUSED and record.verdict == "local":
            return Answer(Verdict("local", None, record.reason))
        target, origin = self._target(record, judge, listener), _origin(record)
        verdict = judge.sent(target, origin, may_translate=self._may_translate)
        return Answer(
            unjudged(verdict, record.origin, self._policy),
            judge.covering(target, origin),
            judge.covering(target, None),
            target,
            origin,
        )

    # As verdicts/connections.py has it.
    def _target(
        self, record: ConnectionRecord, judge: Judge, listener: Listener | None
    ) -> Destination:
        dst, learned = record.dst, self._places.at(record.place)
        meant = names_for_verdict(dst.names)
        known = tuple(one.name for one in dst.names)
        others = (one for one in known if one not in meant)
        origins = learned.aliases.origins(meant)
        shorter = (
            short for one in (*meant, *origins) for short in judge.search.shorter(one)
        )
        return Destination(
            ipaddress.ip_address(dst.ip),
            dst.port,
            record.protocol,
            meant,
            listener,
            origins=origins,
            targets=(*learned.aliases.targets(known), *others),
            absent=tuple(short for short in shorter if short in learned.absent),
            translated=_translated(record, listener),
        )

    def look_up(self, record: DnsRecord, json: Json) -> Verdict:
        """Return what the policy says of a look-up, and learn from its answer.

        `json` is the record as it was written.
        """
        judge = self.judge(record.place)
        verdict = self._asked(record, judge)
        self._places.learn(json)
        return verdict

    def origins(self, record: DnsRecord) -> tuple[str, ...]:
        """Return the names of which the one that `record` asks for is an alias."""
        learned = self._places.at(record.place)
        return learned.aliases.origins((record.name,)) if record.name else ()

    def _asked(self, record: DnsRecord, judge: Judge) -> Verdict:
        if record.name is None:
            return Verdict("violation", None, record.reason)
        learned, origins = self._places.at(record.place), self.origins(record)
        server = ipaddress.ip_address(record.resolver)
        verdict = judge.query(record.name, server, Asked(origins))
        pointed = pointed_address(record.name)
        if verdict.word == "violation" and pointed and learned.knows(str(pointed)):
            verdict = judge.query(record.name, server, Asked(origins, is_learned=True))
        return unjudged(verdict, record.origin, self._policy)


def _receiver(record: ConnectionRecord) -> Listener | None:
    if record.op == "accept":
        return None
    reason = record.reason
    if record.rule == RULE:
        reason = reason.removeprefix(f"{WHY}; ")
    if record.verdict != "allowed" and (found := _RECEIVERS.get(reason)) is not None:
        return found
    # By an entry it was allowed, whoever receives there.
    return "unknown" if ipaddress.ip_address(record.dst.ip).is_loopback else None


def _translated(
    record: ConnectionRecord, listener: Listener | None
) -> Destination | None:
    found = record.dst.translated
    if found is None:
        return None
    address = ipaddress.ip_address(found.ip)
    return Destination(address, found.port, record.protocol, listener=listener)


def _origin(record: ConnectionRecord) -> Origin:
    source = Attribution(
        None,
        None,
        record.route,
        record.route_reason,
        record.bypass,
        tuple(_grounds(record)),
    )
    guard = Guarded(record.guard, record.guard_reason)
    return origin_of(record.process, source, record.claimed, guard)


def _grounds(record: ConnectionRecord) -> Iterator[Ground]:
    module = record.module
    if module is None:
        return
    for name, file in (("caller", module.caller), ("binding", module.binding)):
        if file is not None:
            owner = file.package.name if file.package is not None else None
            yield Ground(f"module.{name}", file.path, owner, None)
