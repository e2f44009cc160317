"""What a run is asked to do, and how its command ended."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

from egressmon.attribution import Level
from egressmon.attribution.descent import JobRoot
from egressmon.evidence.anchoring import Anchor
from egressmon.evidence.records.running import Outlived
from egressmon.evidence.segments import Segments
from egressmon.evidence.unended import Before
from egressmon.evidence.writer import DEFAULT_LIMIT
from egressmon.keeping.launch import status_of
from egressmon.keeping.segments import RunFolder
from egressmon.policy.reading.file import LoadedPolicy
from egressmon.privileges.privilege import User
from egressmon.reports.writing.page import Page
from egressmon.runs.catch_up import DEFAULT_S
from egressmon.sanitise.argv_mode import ArgvMode
from egressmon.sensor.escalation import SudoQuery
from egressmon.values import dataclass, field

if TYPE_CHECKING:
    from egressmon.containers.paths import Engine
    from egressmon.containers.wanted import Wanted
    from egressmon.keeping.kept import Keeping
    from egressmon.sensor.lineage_scope import Lineage
    from egressmon.sidecar.listening import Place
    from egressmon.sidecar.notifying import Notifier

Enforce: TypeAlias = Literal["report", "fail"]
"""What violations do to the exit status: nothing, or make it 120."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a run is asked that has no command, and lasts until somebody ends it."""

    watched: Path | None
    """The folder of the cgroup that is watched; None: the whole machine."""
    words: list[str]
    """What egressmon was called with, for the evidence."""
    place: "Place"
    """Where others ask for its state, and its end."""
    token_digest: bytes
    """Of what shows that the one who started it asks."""
    starter: int
    """That user's id."""
    segments: Segments
    """Where the evidence is written."""
    folder: RunFolder
    """What the keeper opens further segments with."""
    before: Before | None = None
    """The run before, in the folder of the evidence; None: there is none."""
    open_policy: Callable[[], int] | None = None
    """Opens the policy's file again, as who started it; None: there is none."""
    lineage: "Lineage | None" = None
    """The processes that are watched, instead; None: `watched` says what is."""
    job: JobRoot | None = None
    """The root of the job of that user; None: it is not known."""
    notifier: "Notifier | None" = None
    """Whom the keeper tells how the run is doing; None: nobody asks."""
    told: int | None = None
    """An open pipe, where who started it is told that it watches."""
    heartbeat_s: float = 10.0
    canaries_s: float = 60.0
    wanted: "tuple[Wanted, ...]" = ()
    """Which containers are watched, of all of the machine; empty: all that is there."""
    kept: "Keeping | None" = None
    """Keeps the probes for a run that follows; None: nobody does."""
    not_kept: str = ""
    """Why the probes of the run before were not taken up; empty: none were there, or
    they were."""
    engine_sockets: dict["Engine", str] = field(default_factory=dict["Engine", str])
    """Where container engines are asked, if that is not where they usually are."""

    def leave_to_agent(self) -> None:
        """Close, in the keeper, what the agent uses; the folder stays locked here."""
        self.place.sign()
        self.place.listener.close()
        self.segments.let_go()
        if self.before is not None:
            self.before.file.close()
        if self.told is not None:
            os.close(self.told)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Everything that one run is asked to do."""

    command: list[bytes]
    loaded: LoadedPolicy
    enforce: Enforce
    evidence_path: str
    evidence_file: IO[bytes] | None
    evidence_error: str | None
    user: User
    anchor: Anchor | None = None
    """Where the evidence's head is told while the run goes on; None: nowhere."""
    attribution: Level = "full"
    evidence_limit: int = DEFAULT_LIMIT
    """How many bytes of evidence may be written."""
    argv: ArgvMode = "masked"
    linger_s: float | None = None
    """How long to wait for descendants after the command; None: until all ended."""
    catch_up_s: float = DEFAULT_S
    """How long to go on reading after the last process has ended."""
    allow_incomplete: bool = False
    quiet: bool = False
    verbose: bool = False
    ready_file: str | None = None
    """A file to create once the probes are armed, for tests."""
    page: Page | None = None
    """The CI job's summary page, as it was before the run; None if there is none."""
    at_end: Callable[[], str] | None = None
    """Called with the user's rights after everything else; returns an error or ""."""
    control: socket.socket | None = None
    """Where the run is told of phases; None if it is not the run of a scenario."""
    standing: Standing | None = None
    """None: the run is that of a command, and ends with it."""
    ends_scope: bool = False
    """Whether what still runs when all is done is killed."""
    sudo: SudoQuery | None = None
    """A running query whether sudo lets the user become root."""

    @property
    def chooses(self) -> bool:
        """Whether only what some containers do is recorded."""
        return self.standing is not None and bool(self.standing.wanted)

    @property
    def may_gain(self) -> bool:
        """Whether the command may gain rights by executing set-uid programs (sudo)."""
        policy = self.loaded.policy
        return (
            self.enforce == "report" or policy.command.allow_sudo or not self.user.uid
        )


@dataclass(slots=True)
class Ending:
    """How the command ended, and why the evidence may be incomplete."""

    status: int | None = None
    signal: int | None = None
    exec_errno: int = 0
    """The errno with which the command could not be executed; 0 if it was."""
    doubts: list[str] = field(default_factory=list[str])
    outlived: list[Outlived] = field(default_factory=list[Outlived])

    @property
    def is_known(self) -> bool:
        """Whether the command's status or signal is known."""
        return self.status is not None or self.signal is not None

    @property
    def code(self) -> int:
        """The command's exit status, as a shell would give it."""
        if self.exec_errno:
            return status_of(self.exec_errno)
        if self.signal is not None:
            return 128 + self.signal
        return self.status or 0
