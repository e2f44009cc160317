"""What came out of a run, for whoever reports it."""

from dataclasses import dataclass, field
from pathlib import Path

from egressmon.evidence.records import RunEnd
from egressmon.evidence.tally import Tally


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    end: RunEnd
    tally: Tally
    blind_spots: list[str]
    evidence_path: str
    evidence_failure: str | None
    evidence_records: int
    evidence_head: str | None
    policy: Path | None
    enforce: str
    exec_errno: int
    notes: list[str] = field(default_factory=list[str])
    """What else a reader should know, a line each."""
    command: str = ""
    """The command's first word."""
