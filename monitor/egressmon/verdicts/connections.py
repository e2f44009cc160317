"""Flow -> connection: who made it, under which name it goes, and the verdict on it."""

from collections.abc import Callable
from typing import TypeAlias

from egressmon.attribution.processes import LOST, Processes
from egressmon.attribution.result import Attribute, Attribution, unknown
from egressmon.events.decode import protocol_name
from egressmon.events.model import FLAG_FOREIGN, Address, Flow
from egressmon.evidence.code_records import ClaimRecord
from egressmon.evidence.records import Actor, ConnectionRecord, NameRecord, Peer
from egressmon.naming.names import Name, Names, judged
from egressmon.policy.judge import Destination, Judge, Listener
from egressmon.sensor.canary import CanaryWatch
from egressmon.verdicts.origins import origin_of

WhoListens: TypeAlias = Callable[[Address, int, int], Listener]
"""Says who listens at an address and port, by a protocol's number."""

_WITH_PORTS = frozenset({"tcp", "udp", "sctp", "udplite", "33"})


class Locality:
    """Who receives what stays on this machine: the probes' word, or sock_diag's."""

    def __init__(
        self,
        who_listens: WhoListens,
        canaries: CanaryWatch,
    ) -> None:
        """`who_listens` asks sock_diag, in the agent's own network namespace only.

        `canaries` know which one that is.
        """
        self._who_listens = who_listens
        self._canaries = canaries

    def listener(self, flow: Flow) -> Listener | None:
        """Return who receives what `flow` sends; None: it goes to another machine."""
        if flow.receiver == "remote":
            return None
        if flow.receiver != "shared" and flow.receiver != "ask":  # noqa: PLR1714 -- mypy
            return flow.receiver
        if flow.netns not in {0, self._canaries.netns}:
            return "unknown"
        answer = self._who_listens(flow.address, flow.port, flow.protocol)
        # Somebody received there, so that what is gone by now says nothing.
        if flow.receiver == "shared" and answer == "nobody":
            return "unknown"
        return answer


class Connections:
    """Turns flows into judged records."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what it joins
        self,
        judge: Judge,
        names: Names,
        processes: Processes,
        locality: Locality,
        before_unnamed: Callable[[], None],
        attribute: Attribute,
    ) -> None:
        """Call before_unnamed ahead of each verdict on an address without a name."""
        self._attribute = attribute
        self._judge = judge
        self._names = names
        self._processes = processes
        self._locality = locality
        self._before_unnamed = before_unnamed
        self.unnamed: set[Address] = set()
        """Addresses of other machines, resolvers apart, that had no name."""

    def record(self, flow: Flow) -> ConnectionRecord:
        """Return the record of flow."""
        protocol = protocol_name(flow.protocol)
        port = flow.port if protocol in _WITH_PORTS else None
        listener = self._locality.listener(flow)
        names = self._names_of(flow, listener)
        actor, why_not = self._processes.actor(flow)
        source = self._source(flow)
        claims = self._claims(flow, actor, source)
        if flow.operation == "accept":
            verdict = self._judge.accepted(flow.address, is_local=listener is not None)
        else:
            verdict = self._judge.connection(
                Destination(flow.address, port, protocol, judged(names), listener),
                origin_of(actor, source, claims),
            )
            if not names and listener is None and verdict.rule != "dns.resolvers":
                self.unnamed.add(flow.address)
        return ConnectionRecord(
            op=flow.operation,
            protocol=protocol,
            family="inet" if flow.address.version == 4 else "inet6",
            socket="foreign" if flow.flags & FLAG_FOREIGN else "scope",
            dst=Peer(
                ip=str(flow.address),
                port=port,
                names=[NameRecord(name.name, name.source) for name in names],
            ),
            process=actor,
            process_reason=why_not,
            verdict=verdict.word,
            action="observed",
            rule=verdict.rule,
            reason=verdict.reason,
            module=source.module,
            module_reason=source.module_reason,
            route=source.route,
            route_reason=source.route_reason,
            bypass=source.bypass,
            code=source.code,
            code_status=source.code_status,
            code_reason=source.code_reason,
            local_port=flow.local_port or None,
            claimed=claims,
        )

    # Mappings are those of a program, and which one it is, is not known.
    def _source(self, flow: Flow) -> Attribution:
        if self._processes.is_lost(flow):
            return unknown(LOST)
        return self._attribute(flow)

    # A preloaded library can stand in for any function of any module.
    def _claims(
        self, flow: Flow, actor: Actor | None, source: Attribution
    ) -> list[ClaimRecord]:
        process = self._processes.get(flow.pid) if actor is not None else None
        if process is None:
            return list(source.claimed)
        claims = process.claims() + list(source.claimed)
        if process.preloaded is not None:
            known = {claim.field for claim in claims}
            claims += [
                ClaimRecord(ground.field, process.preloaded)
                for ground in source.grounds
                if ground.field not in known
            ]
        return claims

    def _names_of(self, flow: Flow, listener: Listener | None) -> tuple[Name, ...]:
        names = self._names.of(flow.address, flow.ktime_ns)
        if names or listener is not None or flow.operation == "accept":
            return names
        self._before_unnamed()
        return self._names.of(flow.address, flow.ktime_ns)
