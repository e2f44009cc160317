"""What is said of native code: which file of which package, and why."""

from typing import Literal, TypeAlias

from egressmon.values import dataclass

Manager: TypeAlias = Literal["python", "npm", "debian", "apk", "rpm", "none"]
"""Whose record says that a file is a package's; none: no record does."""
Kind: TypeAlias = Literal[
    "imports", "system-call", "library", "go", "packed", "loads", "needs"
]
_MOST_REMARKS = 10_000


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a file could open connections."""

    kind: Kind
    what: str
    """In words, untrusted."""
    sure: bool
    """Whether the code for it is there; else it may be."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A place that was not inspected, or not to its end, and why."""

    path: str
    reason: str


class Remarks:
    """The places that were not inspected; of very many, the first and how many."""

    def __init__(self) -> None:
        self._kept: dict[Unread, None] = {}
        self._more = 0

    def add(self, path: str, reason: str) -> None:
        """Remember that what is at `path` was not inspected, or not to its end."""
        one = Unread(path, reason)
        if len(self._kept) < _MOST_REMARKS:
            self._kept[one] = None
        elif one not in self._kept:
            self._more += 1

    def all(self) -> tuple[Unread, ...]:
        """Return them, in the order in which they were found."""
        if not self._more:
            return tuple(self._kept)
        return (*self._kept, Unread("", f"{self._more} more are not listed"))


@dataclass(frozen=True, slots=True)
class Package:
    """Who a file belongs to, by a package manager's record, which is untrusted."""

    manager: Manager
    name: str
    version: str | None = None
    import_names: tuple[str, ...] = ()
    """The top-level names by which Python code imports it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A file with native code that could open connections."""

    package: Package
    path: str
    reasons: tuple[Reason, ...]
    note: str = ""
    """Why it is nobody's although a record lists it; or nothing."""

    @property
    def sure(self) -> bool:
        """Whether one of the reasons is."""
        return any(reason.sure for reason in self.reasons)
