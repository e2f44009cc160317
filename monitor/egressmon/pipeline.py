"""Kernel event -> decode -> attribute -> name -> judge -> record: the whole story.

Knows nothing of how events were captured: bytes come in, records go out.
"""

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from egressmon.canary import CanaryWatch, is_canary
from egressmon.clock import Clock
from egressmon.decode import (
    FLAG_FOREIGN,
    FLAG_LISTENER_EXACT,
    FLAG_LISTENER_WILDCARD,
    FLAG_OWNERLESS,
    Address,
    DecodeError,
    DnsPacket,
    Executed,
    Exited,
    Flow,
    Forked,
    decode,
)
from egressmon.dns_watch import DnsWatch, Exchange
from egressmon.names import Name, Names, judged
from egressmon.policy.judge import Destination, Judge, Listener
from egressmon.processes import Process, Processes
from egressmon.records import (
    Actor,
    ConnectionRecord,
    DnsRecord,
    NameRecord,
    Peer,
    ProcessExit,
    ProcessRecord,
    Record,
)

_PROTOCOLS = {
    socket.IPPROTO_TCP: "tcp",
    socket.IPPROTO_UDP: "udp",
    socket.IPPROTO_ICMP: "icmp",
    socket.IPPROTO_ICMPV6: "icmpv6",
    socket.IPPROTO_SCTP: "sctp",
    socket.IPPROTO_UDPLITE: "udplite",
    socket.IPPROTO_RAW: "raw",
}
_WITH_PORTS = frozenset({"tcp", "udp", "sctp", "udplite", "dccp"})


@dataclass(slots=True)
class Tracker:
    """What the pipeline learned of the run's soundness, besides its records."""

    short_events: int = 0
    unattributed_flows: int = 0
    unnamed: set[Address] = field(default_factory=set[Address])
    executed: set[int] = field(default_factory=set[int])
    """Every pid of the scope that ran a program."""
    ended: set[int] = field(default_factory=set[int])
    first_executed: int | None = None
    """The first pid that ran a program: the command's."""


class Pipeline:
    """The stages, joined. `feed` takes what the probes yielded, in order."""

    def __init__(  # noqa: PLR0913 -- one argument a stage
        self,
        *,
        judge: Judge,
        names: Names,
        processes: Processes,
        who_listens: Callable[[Address, int, int], Listener],
        own_addresses: Callable[[], frozenset[Address]],
        canaries: CanaryWatch,
        clock: Clock,
        sink: Callable[[Record, int], None],
        before_unnamed: Callable[[], None] = lambda: None,
    ) -> None:
        """Records go to sink; before_unnamed runs once before a nameless verdict."""
        self.tracker = Tracker()
        self.dns = DnsWatch()
        self._judge = judge
        self._names = names
        self._processes = processes
        self._who_listens = who_listens
        self._own = own_addresses
        self._canaries = canaries
        self._clock = clock
        self._sink = sink
        self._before_unnamed = before_unnamed

    def feed(self, events: Iterable[bytes]) -> None:
        """Take events through all stages, oldest first."""
        for data in events:
            try:
                event = decode(data)
            except DecodeError:
                self.tracker.short_events += 1
                continue
            match event:
                case Flow():
                    self._flow(event)
                case DnsPacket():
                    self._exchanges(self.dns.feed(event))
                case Forked() | Executed():
                    self._begun(event)
                case Exited():
                    self._ended(event)

    def finish(self) -> None:
        """Record what was still open: queries without an answer."""
        self._exchanges(self.dns.close(self._clock.now_ns()))

    def _begun(self, event: Forked | Executed) -> None:
        if isinstance(event, Executed):
            process = self._processes.executed(event)
            self.tracker.executed.add(event.pid)
            if self.tracker.first_executed is None:
                self.tracker.first_executed = event.pid
        else:
            process = self._processes.forked(event)
        record = ProcessRecord(
            event="exec" if isinstance(event, Executed) else "fork",
            pid=process.pid,
            ppid=process.parent,
            uid=process.uid,
            comm=process.comm,
            exe=process.exe,
            argv=process.argv,
            argv_cut=process.argv_cut,
            started=self._clock.rfc3339(process.start_ns),
        )
        self._sink(record, event.ktime_ns)

    def _ended(self, event: Exited) -> None:
        process = self._processes.exited(event)
        self.tracker.ended.add(event.pid)
        signal = event.code & 0x7F
        record = ProcessRecord(
            event="exit",
            pid=event.pid,
            ppid=process.parent if process else None,
            uid=process.uid if process else None,
            comm=process.comm if process else None,
            exe=process.exe if process else None,
            argv=None,
            argv_cut=False,
            started=self._clock.rfc3339(event.start_ns),
            exit=ProcessExit(
                status=None if signal else event.code >> 8, signal=signal or None
            ),
        )
        self._sink(record, event.ktime_ns)

    def _flow(self, flow: Flow) -> None:
        if is_canary(flow):
            self._canaries.saw(flow)
            return
        protocol = _PROTOCOLS.get(flow.protocol, str(flow.protocol))
        port = flow.port if protocol in _WITH_PORTS else None
        listener = self._listener(flow)
        names = self._names_of(flow, listener)
        verdict = self._judge.connection(
            Destination(
                address=flow.address,
                port=port,
                protocol=protocol,
                names=judged(names),
                listener=listener,
            )
        )
        actor, why_not = self._actor(flow)
        if actor is None:
            self.tracker.unattributed_flows += 1
        record = ConnectionRecord(
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
        )
        self._sink(record, flow.ktime_ns)

    def _names_of(self, flow: Flow, listener: Listener | None) -> tuple[Name, ...]:
        names = self._names.of(flow.address, flow.ktime_ns)
        if names or listener is not None:
            return names
        self._before_unnamed()
        names = self._names.of(flow.address, flow.ktime_ns)
        if not names:
            self.tracker.unnamed.add(flow.address)
        return names

    # Who receives at an address of this machine; None for another machine's.
    def _listener(self, flow: Flow) -> Listener | None:
        address = flow.address
        is_loopback = address.is_loopback or address.is_unspecified
        if not is_loopback and not (address in self._own() and self._is_home(flow)):
            return None
        if flow.flags & FLAG_LISTENER_EXACT:
            return "scope"
        wildcard = bool(flow.flags & FLAG_LISTENER_WILDCARD)
        if not self._is_home(flow):
            # sock_diag cannot be asked about another network namespace, but the
            # probes count listeners by namespace.
            return "scope" if wildcard else "unknown"
        answer = self._who_listens(address, flow.port, flow.protocol)
        if wildcard and answer != "outside":
            return "scope"
        return answer

    def _is_home(self, flow: Flow) -> bool:
        return flow.netns in {0, self._canaries.netns}

    def _actor(self, event: Flow | DnsPacket) -> tuple[Actor | None, str | None]:
        if event.flags & FLAG_OWNERLESS:
            return None, "the kernel named no owner of the packet's socket"
        process = self._processes.get(event.pid)
        if process is None:
            process = Process(event.pid, 0, 0, event.uid, event.comm)
        known = process.start_ns != 0
        actor = Actor(
            pid=event.pid,
            tid=event.tid,
            ppid=process.parent if known else None,
            uid=event.uid,
            comm=event.comm,
            exe=process.exe,
            argv=process.argv if known else None,
            ancestry=self._processes.ancestry(process),
        )
        return actor, None if known else "the process began before or outside the scope"

    def _exchanges(self, exchanges: Iterable[Exchange]) -> None:
        for exchange in exchanges:
            self._exchange(exchange)

    def _exchange(self, exchange: Exchange) -> None:
        packet, response = exchange.packet, exchange.response
        message = exchange.query or response
        trusted, reason = self._trust(exchange)
        if trusted and response is not None and message is not None:
            expires = exchange.ended_ns + response.ttl * 1_000_000_000
            for address in response.addresses:
                self._names.learn(address, message.name, "dns", expires)
        if message is None:
            word, rule, why = "violation", None, reason or "unreadable message"
        else:
            verdict = self._judge.query(message.name, packet.server)
            word, rule, why = verdict.word, verdict.rule, verdict.reason
            if reason is not None:
                why = f"{why}; {reason}"
        actor, why_not = self._actor(packet)
        record = DnsRecord(
            protocol=_PROTOCOLS.get(packet.protocol, str(packet.protocol)),
            resolver=str(packet.server),
            name=message.name if message else None,
            kind=message.kind if message else None,
            status=response.status if response else None,
            answers=list(response.answers) if response else [],
            trusted=trusted,
            process=actor,
            process_reason=why_not,
            verdict=word,
            rule=rule,
            reason=why,
        )
        self._sink(record, packet.ktime_ns)

    # An answer names addresses only when it came from a trusted resolver, in the
    # scope's own network namespace (anybody can play 127.0.0.53 in another one).
    def _trust(self, exchange: Exchange) -> tuple[bool, str | None]:
        if not exchange.trusted:
            return False, exchange.reason
        packet = exchange.packet
        if packet.server not in self._judge.resolvers:
            return False, "the answer names nothing: not a trusted resolver"
        if packet.netns != self._canaries.netns:
            return False, "the answer names nothing: another network namespace"
        return True, None
