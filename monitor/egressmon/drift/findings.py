"""What comparing found: changes, and how much each counts."""

from typing import Literal, NamedTuple, TypeAlias

from egressmon.drift.model import Run, Texts, Who
from egressmon.values import dataclass

Word: TypeAlias = Literal["new", "gone", "changed", "violation"]
Count: TypeAlias = Literal["note", "drift"]
WORDS: tuple[Word, ...] = ("violation", "new", "changed", "gone")
"""In the order in which they are told."""
SCHEMA = "egressmon-drift/1"


class Change(NamedTuple):
    """One difference from the baseline, or one violation."""

    word: Word
    kind: str
    """As `[drift]` of the policy calls it."""
    what: str
    """The destination, name, package or fact that it is about."""
    old: Texts = ()
    """Of the baseline; of what is new, nothing."""
    new: Texts = ()
    who: tuple[Who, ...] = ()
    """Who did it, the first who were seen; of what is gone, nobody."""
    since: Run | None = None
    """In which run it was first seen, or missed, if several runs are given."""
    counts: Count = "drift"
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that is to be said of runs and their baseline."""

    changes: tuple[Change, ...] = ()
    problems: tuple[str, ...] = ()
    """Why they are not comparable, or not all of them is."""
    notes: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    ignored: int = 0
    """Changes that the policy says are not to be told."""

    @property
    def drifts(self) -> int:
        """How many changes count as drift."""
        return sum(one.counts == "drift" for one in self.changes)

    @property
    def status(self) -> int:
        """The exit status."""
        return 2 if self.problems else int(self.drifts > 0)
