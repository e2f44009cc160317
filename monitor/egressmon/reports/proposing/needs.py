"""Collect from a run's records what a policy would have to allow."""

from collections import Counter, defaultdict

from egressmon.evidence.records import Record
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord
from egressmon.evidence.tally import code_label, program_label, via_label
from egressmon.reports.proposing.learned_names import LookUps, Meant
from egressmon.values import dataclass

_MAX_USES = 100_000
_MAX_SOURCES = 100


@dataclass(frozen=True, slots=True)
class Use:
    """A peer that somebody reached; equal ones are counted together."""

    meant: Meant
    address: str
    port: int | None
    protocol: str
    bypass: bool | None
    who: str


@dataclass(frozen=True, slots=True)
class Question:
    """A look-up that somebody made; equal ones are counted together."""

    name: str | None
    """None: it was no readable DNS message."""
    resolver: str
    untrusted: bool
    """Whether it is a violation because the policy does not trust the resolver."""
    violation: str | None
    """Why it is a violation; None if it is none."""
    who: str


class Needs:
    """What violated the policy, counted; at most 100,000 different things."""

    def __init__(self, *, every_look_up: bool = False) -> None:
        """`every_look_up`: also those that are no violations."""
        self._every_look_up = every_look_up
        self.uses: Counter[Use] = Counter()
        self.questions: Counter[Question] = Counter()
        self.look_ups = LookUps()
        """What the look-ups, violations or not, say of the names."""
        self.sources: dict[str, Counter[str]] = defaultdict(Counter)
        """The programs that accepted connections, by the peer's address."""
        self.beyond = 0
        """Connections to port 0, which no policy names."""
        self.forgotten = 0
        """How many were not kept, because there were too many."""

    def add(self, record: Record) -> None:
        """Take in `record`."""
        if isinstance(record, ConnectionRecord):
            if record.rule == "dns.resolvers":
                return  # it asks for names, and goes by none
            meant = self.look_ups.meant(record)
            if record.verdict == "violation":
                self._connection(record, meant)
        elif isinstance(record, DnsRecord):
            pointer = self.look_ups.is_learned_pointer(record.name or "")
            self.look_ups.add(record)
            if record.verdict == "violation" or (self._every_look_up and not pointer):
                self._look_up(record)

    def _connection(self, record: ConnectionRecord, meant: Meant) -> None:
        if record.op == "accept":
            self._accepted(record)
            return
        if record.dst.port == 0:
            self.beyond += 1
            return
        use = Use(
            meant=meant,
            address=record.dst.ip,
            port=record.dst.port,
            protocol=record.protocol,
            bypass=record.bypass,
            who=_who(record),
        )
        if use in self.uses or len(self.uses) < _MAX_USES:
            self.uses[use] += 1
        else:
            self.forgotten += 1

    def _accepted(self, record: ConnectionRecord) -> None:
        if record.dst.ip not in self.sources and len(self.sources) >= _MAX_SOURCES:
            self.forgotten += 1
            return
        self.sources[record.dst.ip][program_label(record.process)] += 1

    def _look_up(self, record: DnsRecord) -> None:
        question = Question(
            name=record.name,
            resolver=record.resolver,
            untrusted=record.rule == "dns.resolvers",
            violation=record.reason if record.verdict == "violation" else None,
            who=_who(record),
        )
        if question in self.questions or len(self.questions) < _MAX_USES:
            self.questions[question] += record.count
        else:
            self.forgotten += record.count


# Such as `python3.11 (urllib3) in tests/test_net.py::test_fetch`.
def _who(record: ConnectionRecord | DnsRecord) -> str:
    via, code = via_label(record), code_label(record.code).replace(" (call)", "")
    return (
        program_label(record.process)
        + (f" ({via})" if via else "")
        + (f" in {code}" if code else "")
    )
