"""Compare a policy with what runs really reached: what each does not have of the other.

Each connection and look-up is judged again by the policy, whatever policy its run had.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterator, Sequence

from egressmon.auditing.doubts import Doubts
from egressmon.auditing.entries import EntriesUsed
from egressmon.auditing.evidence import Told, told_in
from egressmon.auditing.findings import KINDS, Finding
from egressmon.auditing.missing import missing
from egressmon.auditing.places import runs_at
from egressmon.auditing.probes import Probes
from egressmon.auditing.questions import Answer, Questions
from egressmon.errors import UsageError
from egressmon.evidence.masking import is_unclear as is_unclear_name
from egressmon.evidence.records.lasting import PolicyRecord
from egressmon.evidence.records.running import RunStart
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    DnsRecord,
    ExistingRecord,
    PlaceRecord,
)
from egressmon.evidence.tally import program_label, via_label
from egressmon.policy.judging.judge import Judge, Verdict
from egressmon.policy.language.model import Policy
from egressmon.policy.language.search import SearchList
from egressmon.policy.reading.file import LoadedPolicy
from egressmon.reports.proposing.needs import Needs
from egressmon.values import dataclass, field, replace

_MAX_REFUSED = 10_000


@dataclass(slots=True)
class Compared:
    """How a policy and evidence differ."""

    findings: list[Finding] = field(default_factory=list[Finding])
    doubts: list[str] = field(default_factory=list[str])
    """Why not all could be compared."""
    runs: int = 0
    connections: int = 0
    """Those that leave the scope, or come to it."""
    look_ups: int = 0
    existing: int = 0
    """Connections that were there before a run, which nobody judges."""
    probes: int = 0
    """Connections of egressmon's own launcher, which are left out."""

    @property
    def differs(self) -> bool:
        """Whether there is a finding that counts."""
        return any(one.counts for one in self.findings)


def compare(loaded: LoadedPolicy, paths: Sequence[str]) -> Compared:
    """Return how the policy `loaded` and the evidence at `paths` differ.

    Raises UsageError for what cannot be read at all.
    """
    policy = loaded.policy
    if not isinstance(policy, Policy):
        raise UsageError("there is no policy to compare", "name its file")
    comparing = _Comparing(policy)
    for files in runs_at(paths, comparing.doubts):
        comparing.read(files)
    return comparing.compared(loaded)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of asking about a record."""

    version: tuple[int, int]
    """That of what was known of names by then."""
    answer: Answer
    judged: ConnectionRecord
    """The record under the policy; no violation where no entry could cure it."""
    judge: Judge
    is_curable: bool
    """Whether an entry could allow it."""
    is_unclear: bool
    """Whether a name is not what it was as it was asked for."""


class _Comparing:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._needs = Needs()
        self._entries = EntriesUsed(policy)
        self._refused: Counter[tuple[str, str]] = Counter()
        self._more_refused = self._unclear = self._seen = 0
        self._searches: dict[SearchList, None] = {}
        self._trusted: set[str] = set()
        self._found = Compared()
        self.doubts = Doubts()

    def read(self, files: tuple[str, ...]) -> None:
        self._found.runs += 1
        questions, probes = Questions(self._policy), Probes()
        for told in told_in(files, self.doubts):
            if probes.has(told):
                self._found.probes += 1
                continue
            try:
                self._take(told, questions)
            except ValueError as error:
                number = told.json["seq"]
                self.doubts.add(f"{files[0]}: record {number} has no address: {error}")
        if questions.forgotten:
            self.doubts.add(f"{files[0]}: too many names to keep all in mind")

    def _take(self, told: Told, questions: Questions) -> None:
        match record := told.record:
            case RunStart():
                questions.begin(record)
                search = SearchList(tuple(record.search), record.ndots)
                self._searches[search] = None
            case PlaceRecord():
                questions.enter(record)
            case PolicyRecord():
                questions.reload(record)
            case ExistingRecord():
                self._found.existing += 1
            case ConnectionRecord() if record.relayed is None:
                self._connection(record, self._answered(told, record, questions))
            case DnsRecord():
                verdict = questions.look_up(record, told.json)
                self._look_up(record, verdict, questions)
            case _:
                pass

    # Most records are like earlier ones, and nothing was learned of names since.
    def _answered(
        self, told: Told, record: ConnectionRecord, questions: Questions
    ) -> _Asked:
        memo, version = told.memo, questions.version
        if isinstance(memo, _Asked) and memo.version == version:
            return memo
        answer = questions.connection(record)
        verdict = answer.verdict
        is_unclear = any(is_unclear_name(one.name) for one in record.dst.names)
        is_curable = record.op == "accept" or (
            verdict.rule is None and not answer.refusing
        )
        is_curable = is_curable and not is_unclear and record.dst.port != 0
        shown = verdict.word if is_curable else "recorded"
        told.memo = made = _Asked(
            version,
            answer,
            replace(record, verdict=shown, rule=verdict.rule),
            questions.judge(record.place),
            is_curable,
            is_unclear,
        )
        return made

    def _connection(self, record: ConnectionRecord, asked: _Asked) -> None:
        self._seen += 1
        answer, verdict = asked.answer, asked.answer.verdict
        self._found.connections += verdict.word != "local"
        if record.op == "accept" and verdict.word == "allowed":
            self._entries.accepted(ipaddress.ip_address(record.dst.ip))
        self._entries.connection(answer, asked.judge)
        is_asked = verdict.word == "violation" or bool(self._policy.deny)
        self._unclear += asked.is_unclear and is_asked
        if verdict.word == "violation" and not asked.is_curable:
            self._refuse(_destination(record), record, verdict)
        self._needs.add(asked.judged)

    def _look_up(
        self, record: DnsRecord, verdict: Verdict, questions: Questions
    ) -> None:
        self._seen += 1
        self._found.look_ups += record.count
        judge = questions.judge(record.place)
        name = record.name
        if verdict.rule != "dns.resolvers":
            self._trusted.add(record.resolver)
        if name is not None and verdict.word == "allowed":
            names = (name, *questions.origins(record))
            self._entries.look_up(verdict.rule, names, judge)
        shown = verdict.word
        if shown == "violation" and not self._may_be_listed(record, verdict):
            self._refuse(f"look-up of {name or 'no readable name'}", record, verdict)
            shown = "recorded"
        new = replace(record, verdict=shown, rule=verdict.rule, reason=verdict.reason)
        self._needs.add(new)

    def _may_be_listed(self, record: DnsRecord, verdict: Verdict) -> bool:
        if record.name is None:
            return False
        if is_unclear_name(record.name):
            self._unclear += 1
            return False
        return verdict.rule in {None, "dns.resolvers"}

    def _refuse(
        self, what: str, record: ConnectionRecord | DnsRecord, verdict: Verdict
    ) -> None:
        via = via_label(record)
        who = program_label(record.process) + (f" ({via})" if via else "")
        key = f"{what} by {who}", verdict.reason
        if key in self._refused or len(self._refused) < _MAX_REFUSED:
            self._refused[key] += 1
        else:
            self._more_refused += 1

    def compared(self, loaded: LoadedPolicy) -> Compared:
        found = self._found
        if self._unclear:
            what = "connections and look-ups have names that are masked or cut"
            self.doubts.add(f"{self._unclear} {what}: nobody can compare them")
        if more := self._needs.forgotten + self._more_refused:
            self.doubts.add(f"{more} violations are beyond what is kept")
        if not self._seen:
            self.doubts.add("nothing was reached, and no name was looked up")
        searches = [*self._searches]
        found.findings += missing(self._needs, loaded, searches, self._trusted)
        found.findings += self._of_refused()
        found.findings += self._entries.findings(loaded)
        order = [*KINDS]
        found.findings.sort(key=lambda one: order.index(one.kind))
        found.doubts = self.doubts.lines()
        return found

    def _of_refused(self) -> Iterator[Finding]:
        for (what, why), count in sorted(self._refused.items()):
            yield Finding("refused", f"{what} ({count}x): {why}", "decide")


def _destination(record: ConnectionRecord) -> str:
    name = record.dst.names[0].name if record.dst.names else record.dst.ip
    host = f"[{name}]" if ":" in name else name
    port = f":{record.dst.port}" if record.dst.port is not None else ""
    return f"{host}{port}/{record.protocol}"
