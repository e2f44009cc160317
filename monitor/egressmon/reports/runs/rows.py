"""Violations for people: one row for each program and destination."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from egressmon.evidence.tally import Group
from egressmon.reports.runs.outcome import Outcome
from egressmon.reports.writing.wording import listed, plural
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """What one program did at one destination; texts are as they came, not escaped."""

    count: int
    destination: str
    look_ups: int
    """Look-ups of the destination's name, beside `count`."""
    program: str
    via: str
    """The module or package in the program; "" if it says nothing more."""
    code: str
    """The tests, or the functions; "" if none is known."""
    why: str

    @property
    def target(self) -> str:
        """Where to, and how often that was looked up."""
        more = f" and {plural(self.look_ups, 'look-up')}" if self.look_ups else ""
        return self.destination + more

    @property
    def what(self) -> str:
        """How often, and where to."""
        return f"{self.count}x {self.target}"

    @property
    def who(self) -> str:
        """The program, and the module or package in it."""
        return f"by {self.program}" + (f" ({self.via})" if self.via else "")

    @property
    def where(self) -> str:
        """The tests or the functions; "" if none is known."""
        return f"in {self.code}" if self.code else ""


def rows(outcome: Outcome) -> list[Row]:
    """Return the violations in rows, the largest count first.

    There is one row for each destination and program; their code, modules and reasons
    are merged. Look-ups are in the row of what was then reached by that name.
    """
    counts = outcome.tally.violations.most_common()
    reached = _reached(group for group, _ in counts)
    members: dict[tuple[str, str], Counter[Group]] = defaultdict(Counter)
    for group, count in counts:
        destination = reached[_about(group)] if _joins(group, reached) else ""
        members[destination or group.destination, group.program][group] = count
    found = [_row(key[0], groups) for key, groups in members.items()]
    return sorted(found, key=lambda row: -row.count)


# What was reached most often under a name, by a program, for a reason.
def _reached(groups: Iterable[Group]) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for group in groups:
        if not group.is_look_up:
            found.setdefault(_about(group), group.destination)
    return found


def _about(group: Group) -> tuple[str, ...]:
    return group.program, group.host, group.why


def _joins(group: Group, reached: dict[tuple[str, ...], str]) -> bool:
    return group.is_look_up and _about(group) in reached


def _row(destination: str, groups: Counter[Group]) -> Row:
    look_ups = sum(count for group, count in groups.items() if group.is_look_up)
    others = groups.total() - look_ups
    return Row(
        count=others or look_ups,
        destination=destination,
        look_ups=look_ups if others else 0,
        program=next(iter(groups)).program,
        via=listed(group.via for group in groups),
        code=listed(group.code for group in groups),
        why=listed(group.why for group in groups),
    )
