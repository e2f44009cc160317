"""What to verify with, and what verifying found."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from egressmon.values import dataclass, field
from egressmon.verifying.findings import Finding, Findings, UnreadableError, Verified
from egressmon.verifying.witnesses.anchors import Anchors
from egressmon.verifying.witnesses.bundles import Identity

ProofJudge: TypeAlias = Callable[[str, Mapping[str, Verified]], Iterable[Finding | str]]
"""Returns what a proof at a path claims that its runs, by path, do not say.

A text among that is no fault, but to be known.
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to verify with, besides what is there."""

    policy: str | None = None
    policies: tuple[str, ...] = ()
    """More of them, of a run whose policy was reloaded."""
    anchors: Anchors | None = None
    allowed_signers: str | None = None
    identity: Identity | None = None
    judge: ProofJudge | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a proof says of itself."""

    path: str
    verdict: str
    reason: str
    is_as_made: bool
    """Whether nothing was found wrong with it."""


@dataclass(slots=True)
class Result:
    """What verifying a path found."""

    files: list[Verified] = field(default_factory=list[Verified])
    found: list[Finding] = field(default_factory=list[Finding])
    more: int = 0
    """How many findings are left out of `found`."""
    unreadable: list[UnreadableError] = field(default_factory=list[UnreadableError])
    notes: list[str] = field(default_factory=list[str])
    """What was not checked, and what was besides the evidence."""
    proofs: list[Claim] = field(default_factory=list[Claim])
    """What the proofs there say of themselves."""
    inner: list[str] = field(default_factory=list[str])
    """The paths of proofs that are below the path itself."""

    def take(self, findings: Findings) -> None:
        """Add `findings`."""
        self.found += findings.found
        self.more += sum(findings.more.values())
