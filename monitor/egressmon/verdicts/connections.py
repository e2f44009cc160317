"""Make a connection record of each flow: its caller, names and verdict."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from egressmon.events.decode import protocol_name
from egressmon.events.glance import FlowHead
from egressmon.events.model import FLAG_FOREIGN, FLAG_UNASKED, Address, Flow
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    NameRecord,
    Origin,
    Peer,
    Translated,
)
from egressmon.naming.names import Name, Names, names_for_verdict
from egressmon.naming.places import Here, Place, Places
from egressmon.policy.judging.judge import Judge, Verdict
from egressmon.policy.judging.questions import Destination, Listener
from egressmon.policy.judging.questions import Origin as Maker
from egressmon.sensor.canary import CanaryWatch
from egressmon.verdicts.callers import Callers
from egressmon.verdicts.guards import guarded
from egressmon.verdicts.origins import origin_of
from egressmon.verdicts.unasked import unasked
from egressmon.verdicts.unjudged import unjudged
from egressmon.verdicts.unsent import unsent

if TYPE_CHECKING:
    from egressmon.verdicts.relays import Relays

WhoListens: TypeAlias = Callable[[Address, int, int], Listener]
"""Returns who receives at (address, port, IP protocol number) on this machine."""

_MAX_UNNAMED = 16384
_WITH_PORTS = frozenset({"tcp", "udp", "sctp", "udplite", "33"})


class Locality:
    """Who receives the traffic that stays on this machine.

    The probes say so with the flow; where they cannot, sock_diag(7) is asked.
    """

    def __init__(
        self,
        who_listens: WhoListens,
        canaries: CanaryWatch,
        *,
        is_machine: bool = False,
        is_part: bool = False,
    ) -> None:
        """`who_listens` asks sock_diag, which sees the agent's network namespace only.

        `canaries` knows which namespace that is. `is_machine` says that all processes
        of this machine are in the scope; `is_part`, that not all of them are recorded:
        who receives in the machine's own network may be one of these.
        """
        self._is_machine = is_machine
        self._is_part = is_part
        self._who_listens = who_listens
        self._canaries = canaries

    def listener(self, flow: Flow) -> Listener | None:
        """Return who receives what `flow` sends; None if it leaves this machine."""
        listener = self._listener(flow)
        if not self._is_part or listener != "scope":
            return listener
        is_own = flow.netns and flow.netns != self._canaries.netns
        return "scope" if is_own else "outside"

    def _listener(self, flow: Flow) -> Listener | None:
        if flow.receiver == "remote":
            return None
        if flow.receiver == "shared" and self._is_machine:
            return "scope"
        if flow.receiver != "shared" and flow.receiver != "ask":  # noqa: PLR1714 -- mypy
            return flow.receiver
        if flow.netns not in {0, self._canaries.netns}:
            return "unknown"
        address, port = flow.sent_to or (flow.address, flow.port)
        answer = self._who_listens(address, port, flow.protocol)
        # The probes saw a socket there: that it is gone by now proves nothing.
        if flow.receiver == "shared" and answer == "nobody":
            return "unknown"
        return answer


class Connections:
    """Turns flows into judged records."""

    def __init__(  # noqa: PLR0913 -- the stages that it joins
        self,
        places: Places,
        callers: Callers,
        locality: Locality,
        before_unnamed: Callable[[], None],
        *,
        may_translate: bool = False,
        excuses_unsent: bool = False,
        relays: "Relays | None" = None,
    ) -> None:
        """`places` have the names and the judge of each place.

        `before_unnamed` is called before each verdict on an address without a name.

        It is the last chance to learn one. `may_translate` says that the command itself
        may have its packets sent elsewhere (NAT). `excuses_unsent`: what goes nowhere,
        as another run's canaries do, is no violation. `relays` know what is made for
        others; None: nothing is told as that.
        """
        self._excuses_unsent = excuses_unsent
        self._relays = relays
        self.places = places
        self._callers = callers
        self._locality = locality
        self.before_unnamed = before_unnamed
        self._may_translate = may_translate
        self.unnamed: set[Address] = set()
        """Addresses of other machines that had no name, except trusted resolvers."""
        self.unnamed_beyond = 0
        """Connections to such addresses beyond the 16,384 that are kept."""

    def record(self, flow: Flow) -> ConnectionRecord:
        """Return the record of `flow`."""
        listener = self._locality.listener(flow)
        place = self.places.of(flow)
        names = self._lookup_names(flow, listener, place.names)
        target = _target(flow, listener, place, names)
        caller = self._callers.lookup(flow)
        claims = self._callers.claims(flow, caller)
        guard = guarded(flow, caller.source, place.judge.policy.guard.functions)
        again = self._relays.verdict(flow) if self._relays is not None else None
        verdict, relayed = again or (
            self._verdict(
                place.judge,
                flow,
                target,
                origin_of(caller.process, caller.source, claims, guard),
                caller.origin,
            ),
            None,
        )
        if not names and listener is None and _wants_name(flow, verdict):
            self._note_unnamed(flow.address)
        record = ConnectionRecord(
            op=flow.operation,
            protocol=target.protocol,
            family="inet" if flow.address.version == 4 else "inet6",
            socket="foreign" if flow.flags & FLAG_FOREIGN else "scope",
            dst=_peer(target, names),
            verdict=verdict.word,
            action="observed",
            rule=verdict.rule,
            reason=verdict.reason,
            code_status=caller.source.code_status,
            local_port=flow.local_port or None,
            claimed=claims,
            place=place.number,
            relayed=relayed,
            guard=guard.state,
            guard_reason=guard.reason,
            **caller.fields(),
        )
        if relayed is None:
            self._note_for_relays(flow, record)
        return record

    # What a helper may repeat later. Nobody here asked for the rest.
    def _note_for_relays(self, flow: Flow, record: ConnectionRecord) -> None:
        if self._relays is not None and not flow.flags & FLAG_UNASKED:
            self._relays.note(flow, record)

    def is_of_relay(self, head: FlowHead) -> bool:
        """Tell whether a helper may repeat it, or it may be what a helper repeats."""
        if self._relays is None or not self._relays.are_there:
            return False
        return self._relays.may_repeat(head, is_home=self.places.of(head).is_home)

    def _note_unnamed(self, address: Address) -> None:
        if len(self.unnamed) < _MAX_UNNAMED:
            self.unnamed.add(address)
        elif address not in self.unnamed:
            self.unnamed_beyond += 1

    def basis(self, here: Here, address: Address) -> tuple[int | None, ...]:
        """Return all that `record` rests on, besides the flow and who made it.

        That is, for `address` as seen from `here`, until the time that `until_ns`
        returns. Where the flow's receiver must be asked for, there is more.
        """
        place = self.places.of(here)
        return place.number, place.version, *place.names.basis(address)

    def until_ns(self, flow: Flow) -> int | None:
        """Return until when the names hold that `flow`'s address has as it happens."""
        return self.places.of(flow).names.until_ns(flow.address, flow.ktime_ns)

    def _verdict(
        self,
        judge: Judge,
        flow: Flow,
        target: Destination,
        maker: Maker,
        origin: Origin | None,
    ) -> Verdict:
        if flow.operation == "accept":
            is_local = target.listener is not None
            accepted = judge.accepted(flow.address, is_local=is_local)
            return unjudged(accepted, origin, judge.policy)
        verdict = judge.sent(target, maker, may_translate=self._may_translate)
        excused = unsent(flow, verdict) if self._excuses_unsent else None
        excused = excused or unasked(flow, verdict)
        return excused or unjudged(verdict, origin, judge.policy)

    def _lookup_names(
        self, flow: Flow, listener: Listener | None, known: Names
    ) -> tuple[Name, ...]:
        asker = self._callers.asker(flow)
        names = known.of(flow.address, flow.ktime_ns, asker)
        if names or listener is not None or not _may_be_named(flow):
            return names
        self.before_unnamed()
        return known.of(flow.address, flow.ktime_ns, asker)


# What the policy is asked about.
def _target(
    flow: Flow, listener: Listener | None, place: Place, names: tuple[Name, ...]
) -> Destination:
    protocol = protocol_name(flow.protocol)
    meant = names_for_verdict(names)
    origins = place.names.aliases.origins(meant)
    return Destination(
        flow.address,
        flow.port if protocol in _WITH_PORTS else None,
        protocol,
        meant,
        listener,
        origins=origins,
        targets=_denied_by(place.names, names, meant),
        absent=_absent(place, (*meant, *origins)),
        translated=_translated(flow, protocol, listener),
    )


# What denies a name of the address denies the connection, whoever asked for it.
def _denied_by(
    known: Names, names: tuple[Name, ...], meant: tuple[str, ...]
) -> tuple[str, ...]:
    all_names = tuple(name.name for name in names)
    others = (one for one in all_names if one not in meant)
    return (*known.aliases.targets(all_names), *others)


# Those that the names may have been completed from, as they do not exist.
def _absent(place: Place, names: tuple[str, ...]) -> tuple[str, ...]:
    shorter = place.judge.search.shorter
    found = (short for name in names for short in shorter(name))
    return tuple(short for short in found if short in place.names.absent)


def _translated(
    flow: Flow, protocol: str, listener: Listener | None
) -> Destination | None:
    if flow.sent_to is None:
        return None
    address, port = flow.sent_to
    return Destination(address, port, protocol, listener=listener)


# Nobody looked up whoever comes by itself, or is answered by the kernel.
def _may_be_named(flow: Flow) -> bool:
    return flow.operation != "accept" and not flow.flags & FLAG_UNASKED


def _wants_name(flow: Flow, verdict: Verdict) -> bool:
    return _may_be_named(flow) and verdict.rule != "dns.resolvers"


def _peer(target: Destination, names: tuple[Name, ...]) -> Peer:
    return Peer(
        ip=str(target.address),
        port=target.port,
        translated=_translation(target.translated),
        names=[NameRecord(one.name, one.source, one.asked_by) for one in names],
    )


def _translation(target: Destination | None) -> Translated | None:
    if target is None or target.port is None:
        return None
    return Translated(str(target.address), target.port)
