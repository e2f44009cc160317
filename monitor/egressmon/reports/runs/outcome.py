"""The result of a run, as reports get it."""

from pathlib import Path

from egressmon.evidence.records.running import RunEnd
from egressmon.evidence.tally import Tally
from egressmon.reports.proposing.proposal import Proposal
from egressmon.values import dataclass, field

NOT_RUN = "the command was not run"
"""The reason why the evidence of a run without a command is incomplete."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that a report may tell of a run."""

    end: RunEnd
    tally: Tally
    blind_spots: list[str]
    """Their names."""
    evidence_path: str
    evidence_failure: str | None
    """Why the evidence was not, or not wholly, written."""
    evidence_records: int
    evidence_head: str | None
    """The digest of the last line."""
    policy: Path | None
    """The policy file; None if none was found."""
    enforce: str
    exec_errno: int
    """Why the command could not be executed; 0 if it was."""
    notes: list[str] = field(default_factory=list[str])
    """What else a reader should know, a line each."""
    command: str = ""
    """The command's first word."""
    proposal: Proposal | None = None
    """What to add to the policy; None if nothing was in violation."""

    @property
    def is_grave(self) -> bool:
        """Whether people are told of it even if they asked for silence."""
        is_clean = self.end.verdict == "clean" and self.evidence_failure is None
        return not is_clean or bool(self.exec_errno)
