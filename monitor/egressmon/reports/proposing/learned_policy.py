"""Make the smallest policy that allows what a run did, for somebody to review."""

from collections import Counter
from collections.abc import Iterator

from egressmon.evidence.records import Record
from egressmon.policy.language.default import DEFAULT
from egressmon.policy.language.model import Dns, Policy
from egressmon.policy.language.search import SearchList
from egressmon.reports.proposing.entries import (
    Entry,
    entries_of,
    hosts_of,
    is_host,
    uncovered,
)
from egressmon.reports.proposing.needs import Needs
from egressmon.reports.writing.toml_text import Table, toml_lines
from egressmon.text import printable

LEARNING = Policy(version=1, dns=Dns(queries="any"))
"""The policy of a learning run: everything but local traffic is a violation."""

_MAX_LEFT_OUT = 20
_MAX_USERS = 3  # that a comment names


class Lesson:
    """Collects from a run's records what a policy has to allow."""

    def __init__(self) -> None:
        self._needs = Needs(every_look_up=True)

    def add(self, record: Record) -> None:
        """Take in `record`."""
        self._needs.add(record)

    def policy_text(self, command: str, search: SearchList) -> str:
        """Return the text of the policy file.

        `command` is named in it; `search` is the resolver's search list.
        """
        needs = self._needs
        entries = entries_of(needs, search)
        lines = [f"# Learned by egressmon from one run of: {printable(command)}"]
        if needs.forgotten:
            lines.append(f"# Not whole: {needs.forgotten} events beyond what is kept.")
        lines += [
            "# Review every entry; see docs/policy.md for the format.",
            "version = 1",
            'enforce = "fail"',
        ]
        for entry in entries:
            lines += ["", f"# {_used_by(entry.users())}"]
            lines += [f"# {remark}" for remark in entry.remarks()]
            lines += toml_lines(Table("[[allow]]", list(entry.keys())))
        lines += _dns_lines(needs, entries, search)
        lines += _odd_lines(needs)
        lines += _accept_lines(needs)
        return "\n".join(lines) + "\n"


def _dns_lines(needs: Needs, entries: list[Entry], search: SearchList) -> list[str]:
    names = uncovered(
        needs.questions.items(), DEFAULT, hosts_of(entries), needs.look_ups, search
    )
    # Names that no policy can express become comments: if any name were allowed
    # instead, one odd look-up would allow all others.
    left_out = [name for name in names if not is_host(name)]
    lines = [*_resolver_lines(needs), *_left_out_lines(left_out, names)]
    if shown := [name for name in names if is_host(name)]:
        lines += ["names = [  # looked up, nothing connected there"]
        lines += [f'  "{name}",  # {_used_by(names[name])}' for name in shown]
        lines += ["]"]
    return ["", "[dns]", *lines] if lines else []


# What was sent beside or in place of a question, which no policy allows, nor port 0.
def _odd_lines(needs: Needs) -> list[str]:
    lines: list[str] = []
    if needs.beyond:
        what = f"# {needs.beyond} connections to port 0 stay violations"
        lines = ["", f"{what}: no policy names it"]
    odd = sum(
        count
        for question, count in needs.questions.items()
        if question.violation is not None and not question.untrusted
    )
    if odd:
        lines += ["", f"# {odd} look-ups stay violations: no plain questions"]
    return lines


def _resolver_lines(needs: Needs) -> Iterator[str]:
    if any(question.untrusted for question in needs.questions):
        servers = sorted({question.resolver for question in needs.questions})
        yield from toml_lines(Table("", [("resolvers", servers)]))


def _left_out_lines(names: list[str], asked: dict[str, Counter[str]]) -> Iterator[str]:
    for name in names[:_MAX_LEFT_OUT]:
        yield (
            f"# left out, no host name: {printable(name, 80)}  "
            f"({_used_by(asked[name])})"
        )
    if len(names) > _MAX_LEFT_OUT:
        yield f"# and {len(names) - _MAX_LEFT_OUT} more that are no host names"


# That somebody connected does not mean that they should: these are comments only.
def _accept_lines(needs: Needs) -> list[str]:
    if not needs.sources:
        return []
    lines = ["", "# Other machines connected to the command; to admit them:"]
    lines += ["# [accept]", "# from = ["]
    lines += [
        f'#   "{source}",  # {_used_by(users)}'
        for source, users in sorted(needs.sources.items())
    ]
    return [*lines, "# ]"]


def _used_by(users: Counter[str]) -> str:
    shown = [
        f"{printable(who)} ({count}x)" for who, count in users.most_common(_MAX_USERS)
    ]
    rest = len(users) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
