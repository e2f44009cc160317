"""Flow -> connection: who made it, under which name it goes, and the verdict on it."""

from collections.abc import Callable

from egressmon.attribution.records import ClaimRecord
from egressmon.attribution.result import Attribution
from egressmon.canary import CanaryWatch
from egressmon.decode import protocol_name
from egressmon.events import (
    FLAG_FOREIGN,
    FLAG_LISTENER_EXACT,
    FLAG_LISTENER_WILDCARD,
    Address,
    Flow,
)
from egressmon.names import Name, Names, judged
from egressmon.origins import origin_of
from egressmon.policy.judge import Destination, Judge, Listener
from egressmon.processes import Processes
from egressmon.records import Actor, ConnectionRecord, NameRecord, Peer

_WITH_PORTS = frozenset({"tcp", "udp", "sctp", "udplite", "33"})


class Locality:
    """Who receives at an address of this machine."""

    def __init__(
        self,
        who_listens: Callable[[Address, int, int], Listener],
        own_addresses: Callable[[], frozenset[Address]],
        canaries: CanaryWatch,
    ) -> None:
        """Who_listens answers for the network namespace that the canaries know."""
        self._who_listens = who_listens
        self._own_addresses = own_addresses
        self._canaries = canaries

    def listener(self, flow: Flow) -> Listener | None:
        """Return who receives what flow sends; None: it goes to another machine."""
        address, home = flow.address, self._is_home(flow)
        is_loopback = address.is_loopback or address.is_unspecified
        if not is_loopback and not (home and address in self._own_addresses()):
            return None
        if flow.flags & FLAG_LISTENER_EXACT:
            return "scope"
        wildcard = bool(flow.flags & FLAG_LISTENER_WILDCARD)
        if not home:
            # sock_diag cannot be asked about another network namespace, but the
            # probes count listeners by namespace.
            return "scope" if wildcard else "unknown"
        answer = self._who_listens(address, flow.port, flow.protocol)
        return "scope" if wildcard and answer != "outside" else answer

    def _is_home(self, flow: Flow) -> bool:
        return flow.netns in {0, self._canaries.netns}


class Connections:
    """Turns flows into judged records."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what it joins
        self,
        judge: Judge,
        names: Names,
        processes: Processes,
        locality: Locality,
        before_unnamed: Callable[[], None],
        who_did_it: Callable[[Flow], Attribution],
    ) -> None:
        """Call before_unnamed ahead of each verdict on an address without a name."""
        self._who_did_it = who_did_it
        self._judge = judge
        self._names = names
        self._processes = processes
        self._locality = locality
        self._before_unnamed = before_unnamed
        self.unattributed = 0
        """Connections whose process is unknown."""
        self.unnamed: set[Address] = set()
        """Addresses of other machines, resolvers apart, that had no name."""

    def is_own(self, flow: Flow) -> bool:
        """Tell whether the scope itself receives what flow sends."""
        return self._locality.listener(flow) == "scope"

    def record(self, flow: Flow) -> ConnectionRecord:
        """Return the record of flow."""
        protocol = protocol_name(flow.protocol)
        port = flow.port if protocol in _WITH_PORTS else None
        listener = self._locality.listener(flow)
        names = self._names_of(flow, listener)
        actor, why_not = self._processes.actor(flow)
        source = self._who_did_it(flow)
        claims = self._claims(flow, actor, source)
        verdict = self._judge.connection(
            Destination(flow.address, port, protocol, judged(names), listener),
            origin_of(actor, source, claims),
        )
        if not names and listener is None and verdict.rule != "dns.resolvers":
            self.unnamed.add(flow.address)
        if actor is None:
            self.unattributed += 1
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
            code_reason=source.code_reason,
            claimed=claims,
        )

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
        if names or listener is not None:
            return names
        self._before_unnamed()
        return self._names.of(flow.address, flow.ktime_ns)
