"""What a run is asked to do, and how its command ended."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Literal, TypeAlias

from egressmon.attribution import Level
from egressmon.evidence.records import Outlived
from egressmon.evidence.writer import DEFAULT_LIMIT
from egressmon.keeping.launch import status_of
from egressmon.policy.file import LoadedPolicy
from egressmon.privileges.privilege import User
from egressmon.reports.page import Page
from egressmon.sanitise.argv_mode import ArgvMode
from egressmon.sensor.escalation import SudoTrial

Enforce: TypeAlias = Literal["report", "fail"]
"""What violations do: nothing, or end the run with 120."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run is to do."""

    command: list[bytes]
    loaded: LoadedPolicy
    enforce: Enforce
    evidence_path: str
    evidence_file: IO[bytes] | None
    evidence_error: str | None
    user: User
    attribution: Level = "full"
    evidence_limit: int = DEFAULT_LIMIT
    """How many bytes of evidence are written at most."""
    argv: ArgvMode = "masked"
    linger_s: float | None = None
    """How long to wait for descendants after the command; None: to the last."""
    allow_incomplete: bool = False
    quiet: bool = False
    verbose: bool = False
    ready_file: str | None = None
    """A file to make once the probes are armed, for tests."""
    page: Page | None = None
    """The job's summary page, as it was before the run; None: there is none."""
    at_end: Callable[[], str] | None = None
    """What is to be done with the user's rights once all else is over."""
    sudo: SudoTrial | None = None
    """What is being found out about the user's way to root."""

    @property
    def may_gain(self) -> bool:
        """Whether what the command executes may bring rights with it (sudo)."""
        policy = self.loaded.policy
        return (
            self.enforce == "report" or policy.command.allow_sudo or not self.user.uid
        )


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
