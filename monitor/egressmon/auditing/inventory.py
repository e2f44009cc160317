"""Collect what was reached for a review: where to, in which phase, and by whom."""

from collections import Counter
from collections.abc import Iterable

from egressmon.auditing.callers import Callers
from egressmon.auditing.given import given
from egressmon.auditing.phases import Phases
from egressmon.evidence.records import Record
from egressmon.evidence.records.code import PackageRecord
from egressmon.evidence.records.running import RunStart
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    DnsRecord,
    EscapeRecord,
    ExistingRecord,
)
from egressmon.evidence.tally import code_label, module_label, program_label
from egressmon.reports.proposing.learned_names import LookUps
from egressmon.values import dataclass, field

MAX_ROWS = 10_000
_MAX_WITHIN = 64  # different values of one row
_MAX_WAYS = 32
_MAX_KEPT = 200_000
"""Texts in all rows together: what is in memory is bounded, whoever chose them."""
Key = tuple[str, str, str]
"""The phase, the destination, and its protocol."""


@dataclass(slots=True)
class Row:
    """A destination in one phase; each set holds 64, and one more if there are more."""

    host: str
    """Its name, or its address if it has none."""
    is_named: bool
    count: int = 0
    again: int = 0
    """How many of them a process made by the same code as one before."""
    ports: set[int] = field(default_factory=set[int])
    addresses: set[str] = field(default_factory=set[str])
    names: set[str] = field(default_factory=set[str])
    """Other names that may have been meant, or that the address has."""
    makers: Counter[str] = field(default_factory=Counter[str])
    packages: set[str] = field(default_factory=set[str])
    bypassing: set[str] = field(default_factory=set[str])
    """What went past the language's own sockets."""
    ways: set[tuple[int, int, str]] = field(default_factory=set[tuple[int, int, str]])
    """In which run which process reached it by which code."""


@dataclass(slots=True)
class Inventory:
    """All that was reached; 10,000 rows of each kind at most, and the rest counted."""

    reached: dict[Key, Row] = field(default_factory=dict[Key, Row])
    asked: dict[tuple[str, str], Row] = field(
        default_factory=dict[tuple[str, str], Row]
    )
    """What was looked up, by phase and name."""
    peers: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """Who connected to the command from elsewhere, and what accepted it."""
    resolvers: Counter[str] = field(default_factory=Counter[str])
    escapes: Counter[str] = field(default_factory=Counter[str])
    existing: Counter[str] = field(default_factory=Counter[str])
    """Connections that were there before a run."""
    more: Counter[str] = field(default_factory=Counter[str])
    """What there was no room for, by what it is."""
    phases: Phases = field(default_factory=Phases)
    commands: dict[str, None] = field(default_factory=dict[str, None])
    named: set[str] = field(default_factory=set[str])
    """What the commands themselves name."""
    blind_spots: dict[str, None] = field(default_factory=dict[str, None])
    _runs: int = 0
    _kept: int = 0
    _callers: Callers = field(default_factory=Callers)
    _look_ups: LookUps = field(default_factory=LookUps)

    def add(self, record: Record, mark: str | None = None) -> None:
        """Take in `record`, of a phase that was marked so; None: of none."""
        self.phases.note(record, mark)
        match record:
            case RunStart():
                self._begin(record)
            case ConnectionRecord() if record.relayed is None:
                self._connection(record, mark)
            case DnsRecord():
                self._asked(record, mark)
                self._look_ups.add(record)
            case EscapeRecord():
                who = program_label(record.process)
                _count(self.escapes, f"{record.what} by {who}: {record.reason}")
            case ExistingRecord():
                host = f"[{record.dst}]" if ":" in record.dst else record.dst
                who = program_label(record.process)
                where = f"{host}:{record.port}/{record.protocol}"
                _count(self.existing, f"{where} by {who}", most=MAX_ROWS)
            case _:
                pass

    def _begin(self, start: RunStart) -> None:
        self._look_ups = LookUps()
        self._runs += 1
        if len(self.commands) < _MAX_WITHIN:
            self.commands.setdefault(" ".join(start.command))
            self.named |= given(start.command)
        for one in start.blind_spots:
            self.blind_spots.setdefault(one.name)

    def _connection(self, record: ConnectionRecord, mark: str | None) -> None:
        if record.rule == "dns.resolvers" and record.verdict == "allowed":
            return  # the look-ups tell of it
        meant = self._look_ups.meant(record)
        if record.op == "accept":
            self._accepted(record)
            return
        if record.verdict == "local":
            return
        host = meant.names[0] if meant.names else record.dst.ip
        key = self.phases.of(record, mark), host, record.protocol
        row = self.reached.get(key)
        if row is None:
            if len(self.reached) >= MAX_ROWS:
                self.more["destinations"] += 1
                return
            row = self.reached[key] = Row(host, bool(meant.names))
        row.count += 1
        self._note_way(row, record)
        if record.dst.port is not None and len(row.ports) <= _MAX_WITHIN:
            row.ports.add(record.dst.port)
        self._put(row.addresses, record.dst.ip)
        for name in (*meant.names[1:], *meant.others, *meant.judged):
            if name != host:
                self._put(row.names, name)
        self._note_maker(row, record)

    # As a retry does, or a loop.
    def _note_way(self, row: Row, record: ConnectionRecord) -> None:
        code, process = record.code, record.process
        stack = code.stack if code is not None else None
        label = module_label(record) if stack is None else stack.digest
        way = self._runs, process.pid if process is not None else 0, label
        if way in row.ways:
            row.again += 1
        elif len(row.ways) < _MAX_WAYS:
            row.ways.add(way)

    def _accepted(self, record: ConnectionRecord) -> None:
        ip = record.dst.ip
        if ip not in self.peers and len(self.peers) >= MAX_ROWS:
            self.more["peers that connected"] += 1
            return
        where = f"{program_label(record.process)} at port {record.local_port}"
        _count(self.peers.setdefault(ip, Counter()), where)

    def _asked(self, record: DnsRecord, mark: str | None) -> None:
        _count(self.resolvers, record.resolver, record.count)
        name = record.name if record.name is not None else "an unreadable message"
        if self._look_ups.is_learned_pointer(name):
            return
        key = self.phases.of(record, mark), name
        row = self.asked.get(key)
        if row is None:
            if len(self.asked) >= MAX_ROWS:
                self.more["look-ups"] += 1
                return
            row = self.asked[key] = Row(name, is_named=True)
        row.count += record.count
        self._note_maker(row, record)

    def _note_maker(self, row: Row, record: ConnectionRecord | DnsRecord) -> None:
        packages = [*_packages(record)]
        on_stack = self._callers.packages(record.code)
        for name in (*(one.name for one in packages), *on_stack):
            self._put(row.packages, name)
        if record.bypass:
            self._put(row.bypassing, module_label(record))
        maker = _maker(record, packages, on_stack)
        if maker not in row.makers:
            if self._kept >= _MAX_KEPT:
                maker = "others"
            self._kept += 1
        _count(row.makers, maker)

    def _put(self, known: set[str], one: str) -> None:
        if one in known or len(known) > _MAX_WITHIN:
            return
        if self._kept >= _MAX_KEPT:
            self.more["addresses, names and packages"] += 1
            return
        self._kept += 1
        known.add(one)

    def only_asked(self) -> list[tuple[str, Row]]:
        """Return (phase, row) of the names that were looked up, and never reached."""
        reached = {row.host for row in self.reached.values()}
        for row in self.reached.values():
            reached |= row.names
        return [
            (phase, row)
            for (phase, name), row in self.asked.items()
            if name not in reached
        ]


def _packages(record: ConnectionRecord | DnsRecord) -> Iterable[PackageRecord]:
    if record.code is not None and record.code.package is not None:
        yield record.code.package
    module = record.module
    for file in (module.binding, module.caller) if module is not None else ():
        if file is not None and file.package is not None:
            yield file.package


def _maker(
    record: ConnectionRecord | DnsRecord,
    packages: list[PackageRecord],
    on_stack: tuple[str, ...],
) -> str:
    text = program_label(record.process)
    if packages:
        first = packages[0]
        text += f" ({first.name} {first.version or ''}".rstrip() + ")"
    if record.bypass:
        text += f", by {module_label(record)}"
    if len(on_stack) > 1 or {*on_stack} - {one.name for one in packages}:
        text += f", for {' > '.join(on_stack)}"
    where = code_label(record.code)
    return f"{text} in {where}" if where else text


def _count(
    counts: Counter[str], one: str, times: int = 1, most: int = _MAX_WITHIN
) -> None:
    if one not in counts and len(counts) >= most:
        one = "others"
    counts[one] += times
