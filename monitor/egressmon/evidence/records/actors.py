"""The records of processes, of the steps of CI jobs, and of who did something."""

from typing import ClassVar, Literal, TypeAlias

from egressmon.evidence.records.code import (
    ClaimRecord,
)
from egressmon.values import dataclass, field

StepSystem: TypeAlias = Literal["github", "gitlab", "buildkite", "jenkins"]


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a process ended."""

    status: int | None
    signal: int | None


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process of the scope began, executed a program, or ended."""

    TYPE: ClassVar[str] = "process"

    event: Literal["fork", "exec", "exit"]
    pid: int
    ppid: int | None
    uid: int | None
    comm: str | None
    exe: str | None
    argv: list[str] | None
    argv_cut: bool
    started: str
    exit: ProcessExit | None = None
    claimed: list[ClaimRecord] = field(default_factory=list[ClaimRecord])
    container: str | None = None
    """The key of the container in which it is; None: in none, as far as is known."""
    pid_inside: int | None = None
    """Its pid in its own pid namespace, if that is another number."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a CI job, as the environment of its first process says: a claim."""

    system: StepSystem
    name: str | None
    """Its id, or else its name; None: its variables have none."""
    job: str | None
    variables: dict[str, str]
    """Those that are kept, masked."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step of a CI job. The records of processes refer to it by its digest."""

    TYPE: ClassVar[str] = "step"

    digest: str
    system: StepSystem
    name: str | None
    job: str | None
    variables: dict[str, str]
    claimed: bool = True
    """Always: who starts a process chooses its environment."""


@dataclass(frozen=True, slots=True)
class StepReference:
    """A step as the record of a process has it: its name, and its record's digest."""

    name: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class Actor:
    """The process behind a connection, a look-up or an escape."""

    pid: int
    tid: int
    ppid: int | None
    uid: int
    comm: str
    exe: str | None
    argv: list[str] | None
    ancestry: list[str]
    container: str | None = None
    argv_cut: bool = False
    step: Step | None = None
    """The step of a CI job that it is of by descent; None: none is known."""
    pid_inside: int | None = None
    """As in `ProcessRecord`."""


@dataclass(frozen=True, slots=True)
class ActorRecord:
    """A process, with what it runs. Other records refer to it by its digest."""

    TYPE: ClassVar[str] = "actor"

    digest: str
    pid: int
    ppid: int | None
    uid: int
    exe: str | None
    argv: list[str] | None
    argv_cut: bool
    ancestry: list[str]
    container: str | None
    step: StepReference | None = None
    pid_inside: int | None = None


@dataclass(frozen=True, slots=True)
class ActorReference:
    """A thread, with the digest of its process: an `Actor` as it is written."""

    pid: int
    tid: int
    comm: str
    digest: str
