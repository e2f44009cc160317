"""What to add to the policy so that a run's violations are none the next time."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from egressmon.naming.names import Resolver, trusted_resolvers
from egressmon.policy.errors import PolicyError
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Destination, Origin
from egressmon.policy.language.search import SearchList
from egressmon.policy.reading.file import PROJECT, LoadedPolicy
from egressmon.reports.proposing.entries import (
    Entry,
    entries_of,
    hosts_of,
    is_host,
    uncovered,
)
from egressmon.reports.proposing.learned_names import LookUps
from egressmon.reports.proposing.needs import Needs, Question, Use
from egressmon.reports.writing.toml_text import Table, Value, toml_lines
from egressmon.values import dataclass, field

if TYPE_CHECKING:
    from egressmon.policy.language.model import Allow, Policy

_MAX_ENTRIES = 20
_MAX_NAMES = 40
_MAX_QUESTIONS = 2000  # that are looked at
_REFUSED = "the reasons say why, or the name is no host name"


@dataclass(slots=True)
class Proposal:
    """Tables for a policy file, which make a run's violations allowed."""

    file: Path | None
    """The policy file; None if there is none yet."""
    tables: list[Table] = field(default_factory=list[Table])
    """What to add at the end of the file."""
    keys: list[tuple[str, Table]] = field(default_factory=list[tuple[str, Table]])
    """(table, keys): what to write in tables that the file has, for the same keys."""
    is_inline: bool = False
    """Whether the file's `allow` cannot be continued by tables, as it is one list."""
    more: int = 0
    """Entries and names that are needed, too, and are left out."""
    refused: int = 0
    """Violations that no entry would allow."""


def propose(needs: Needs, loaded: LoadedPolicy, resolver: Resolver) -> Proposal | None:
    """Return what to add to the policy `loaded`; None if nothing violated it.

    `resolver` is the system's. No entry is proposed for what the policy refuses by
    more than its silence: by an entry's `by`, by `bypass`, or for how a query is made.
    """
    if not needs.uses and not needs.questions and not needs.sources:
        return None
    return _Proposer(needs, loaded, resolver).proposal()


class _Proposer:
    def __init__(self, needs: Needs, loaded: LoadedPolicy, resolver: Resolver) -> None:
        self._needs = needs
        self._loaded = loaded
        self._trusted = trusted_resolvers(loaded.policy, resolver)
        self._search = resolver.search
        self._prefix = (
            "tool.egressmon."
            if loaded.path is not None and loaded.path.name == PROJECT
            else ""
        )
        self._proposal = Proposal(
            loaded.path, more=needs.forgotten, refused=needs.beyond
        )

    def proposal(self) -> Proposal:
        found = self._proposal
        entries = entries_of(self._needs, self._search)
        entries.sort(key=lambda entry: -entry.uses.total())
        shown = self._helpful(entries[:_MAX_ENTRIES])
        found.more += len(entries[_MAX_ENTRIES:])
        if self._loaded.path is None:
            found.tables.append(Table("", [("version", 1)]))
        found.tables += [
            Table(f"[[{self._prefix}allow]]", list(one.keys())) for one in shown
        ]
        self._add_keys("dns", self._dns(hosts_of(entries)))
        self._add_keys("accept", self._accept())
        found.is_inline = not self._can_be_added()
        return found

    # Those entries that change a verdict. Without a policy file all of them do.
    def _helpful(self, entries: list[Entry]) -> list[Entry]:
        if self._loaded.path is None:
            return entries
        helps = _Help(self._loaded, entries, self._search, self._needs.look_ups)
        found: list[Entry] = []
        refused: dict[Use, int] = {}  # a use of several names is one of several entries
        for entry in entries:
            useless = {use: n for use, n in entry.uses.items() if not helps.allow(use)}
            refused |= useless
            if len(useless) < len(entry.uses):
                found.append(entry)
        self._proposal.refused += sum(refused.values())
        return found

    def _dns(self, hosts: set[str]) -> list[tuple[str, Value]]:
        policy = self._loaded.policy
        judge = Judge(policy, self._trusted, self._search)
        curable: list[tuple[Question, int]] = []
        questions = self._needs.questions.most_common()
        for question, count in questions[:_MAX_QUESTIONS]:
            if _is_curable(question, judge):
                curable.append((question, count))
            else:
                self._proposal.refused += count
        servers = {one.resolver for one, _ in curable if one.untrusted}
        look_ups = self._needs.look_ups
        names = list(uncovered(curable, policy, hosts, look_ups, self._search))
        rest = questions[_MAX_QUESTIONS:]
        self._proposal.more += sum(one.name not in hosts for one, _ in rest)
        self._proposal.more += len(names[_MAX_NAMES:])
        keys: list[tuple[str, Value]] = []
        if servers:
            known = {str(one) for one in self._trusted}
            keys.append(("resolvers", sorted(known | servers)))
        if names:
            keys.append(("names", [*policy.dns.names, *names[:_MAX_NAMES]]))
        return keys

    def _accept(self) -> list[tuple[str, Value]]:
        known = self._loaded.policy.accept.sources
        before = [] if isinstance(known, str) else list(known)
        sources = sorted(self._needs.sources)
        return [("from", [*before, *sources])] if sources else []

    def _add_keys(self, table: str, keys: list[tuple[str, Value]]) -> None:
        if not keys:
            return
        header = f"[{self._prefix}{table}]"
        if self._loaded.path is not None and table in _tables(self._loaded):
            self._proposal.keys.append((header, Table("", keys)))
        else:
            self._proposal.tables.append(Table(header, keys))

    def _can_be_added(self) -> bool:
        path = self._loaded.path
        if path is None or not self._proposal.tables:
            return True
        from egressmon.policy.reading import table  # noqa: PLC0415 -- loaded with the file

        added = [line for one in self._proposal.tables for line in toml_lines(one)]
        text = "\n".join([self._loaded.text, *added, ""])
        try:
            table.parse(path, text, ("tool", "egressmon") if self._prefix else ())
        except PolicyError:
            return False
        return True


class _Help:
    """Says whether entries would allow a use that the policy does not."""

    def __init__(
        self,
        loaded: LoadedPolicy,
        entries: list[Entry],
        search: SearchList,
        look_ups: LookUps,
    ) -> None:
        from egressmon.policy.language.model import Allow, Policy  # noqa: PLC0415 -- as above

        policy = loaded.policy
        if not isinstance(policy, Policy):
            raise TypeError("the default policy is of no file")
        added = [
            Allow.model_validate({**dict(one.keys()), "reason": ""}) for one in entries
        ]
        loose = [one.model_copy(update={"by": None}) for one in policy.allow]
        self._search = search
        self._look_ups = look_ups
        self._with = _judge(policy, [*policy.allow, *added], search)
        self._loose = _judge(policy, loose, search)

    def allow(self, use: Use) -> bool:
        """Tell whether the entries allow `use`, and it is not that `by` refused it."""
        names = use.meant.judged
        target = Destination(
            ipaddress.ip_address(use.address),
            use.port,
            use.protocol,
            names,
            absent=self._look_ups.absent(names, self._search),
        )
        allowed = self._with.connection(target, Origin(bypass=use.bypass))
        by_name = self._loose.connection(target, Origin(bypass=False))
        return allowed.word == "allowed" and by_name.word != "allowed"


def _judge(policy: "Policy", allow: "list[Allow]", search: SearchList) -> Judge:
    changed = policy.model_copy(update={"allow": tuple(allow)})
    return Judge(changed, frozenset(), search)


# The keys that the file has.
def _tables(loaded: LoadedPolicy) -> set[str]:
    return set(getattr(loaded.policy, "model_fields_set", ()))


# Whether the name or the resolver is the reason, and not how the query is made.
def _is_curable(question: Question, judge: Judge) -> bool:
    name = question.name
    if name is None or question.violation is None or not is_host(name):
        return False
    server = ipaddress.ip_address(question.resolver)
    return question.violation.startswith(judge.query(name, server).reason)


def texts(proposal: Proposal) -> Iterator[tuple[str, list[Table]]]:
    """Yield what to say of each part of `proposal`, and its tables."""
    if proposal.tables:
        yield _heading(proposal), proposal.tables
    for table, keys in proposal.keys:
        yield f"in its {table}, write:", [keys]
    if proposal.more:
        yield f"{proposal.more} more are needed: see egressmon learn -- COMMAND", []
    if proposal.refused:
        yield f"no entry can allow {proposal.refused} of these: {_REFUSED}", []


def _heading(proposal: Proposal) -> str:
    if proposal.file is None:
        return "to allow this, write to egress.toml:"
    if proposal.is_inline:
        return f"to allow this, add to the list `allow` of {proposal.file}:"
    return f"to allow this, add to {proposal.file}:"
