"""What a run is asked to do, how its command ended, and what came out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from egressmon.attribution import Level
from egressmon.launch import status_of
from egressmon.page import Page
from egressmon.policy.file import LoadedPolicy
from egressmon.privilege import User
from egressmon.records import Outlived, RunEnd
from egressmon.tally import Tally


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run is to do."""

    command: list[bytes]
    loaded: LoadedPolicy
    enforce: Literal["report", "fail"]
    evidence_path: str
    evidence_file: IO[bytes] | None
    evidence_error: str | None
    user: User
    attribution: Level = "full"
    linger_s: float | None = None
    """How long to wait for descendants after the command; None: to the last."""
    allow_incomplete: bool = False
    quiet: bool = False
    verbose: bool = False
    ready_file: str | None = None
    """A file to make once the probes are armed, for tests."""
    page: Page | None = None
    """The job's summary page, as it was before the run; None: there is none."""


@dataclass(slots=True)
class Ending:
    """How the command ended, and why the evidence may not be whole."""

    status: int | None = None
    signal: int | None = None
    exec_errno: int = 0
    """Why the command could not be executed; 0: it was."""
    doubts: list[str] = field(default_factory=list[str])
    outlived: list[Outlived] = field(default_factory=list[Outlived])

    @property
    def is_known(self) -> bool:
        """Whether the command was waited for."""
        return self.status is not None or self.signal is not None

    @property
    def code(self) -> int:
        """The command's exit status, as a shell would give it."""
        if self.exec_errno:
            return status_of(self.exec_errno)
        if self.signal is not None:
            return 128 + self.signal
        return self.status or 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    end: RunEnd
    tally: Tally
    blind_spots: list[str]
    evidence_path: str
    evidence_failure: str | None
    policy: Path | None
    enforce: str
    exec_errno: int
    command: str = ""
    """The command's first word."""
