"""The records of a run: how it began, what is proved of it, and how it ended."""

from typing import ClassVar, Literal, TypeAlias

from egressmon.values import dataclass, field

RunVerdict: TypeAlias = Literal["clean", "violations", "incomplete"]


@dataclass(frozen=True, slots=True)
class BlindSpot:
    """A way out that this run cannot see: why, what follows, and what closes it."""

    name: str
    reason: str
    consequence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class RunStart:
    """The first record: the machine, the command, the probes and the policy."""

    TYPE: ClassVar[str] = "run.start"

    egressmon: str
    engine: str
    engine_reason: str
    kernel: str
    machine: str
    host: str
    scope: str
    user: int
    command: list[str]
    argv: str
    cwd: str | None
    policy: str | None
    policy_digest: str | None
    enforce: str
    resolvers: list[str]
    hooks: list[str]
    blind_spots: list[BlindSpot]
    attribution: str
    armed_ms: int
    search: list[str] = field(default_factory=list[str])
    """The resolver's search list, and how many dots a name has that is not completed
    first: verdicts rest on both."""
    ndots: int = 1
    policy_kind: Literal["file", "default", "learning"] = "file"
    heartbeat_ms: int | None = None
    """How often a run that lasts says that it goes on; None: it does not."""
    job: str | None = None
    """The root of the job of whoever started a sidecar; None: it is not known."""


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """A connection that egressmon made to test that the probes see and refuse it."""

    TYPE: ClassVar[str] = "canary"

    when: Literal["start", "during", "end"]
    hook: str
    dst: str
    port: int
    sent: bool
    refused: bool
    seen: bool
    errno: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """A phase of a scenario began or ended (`egressmon prove`)."""

    TYPE: ClassVar[str] = "phase"

    name: str
    event: Literal["begin", "end"]
    outcome: Literal["completed", "failed"] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """An event that could not be processed; later events still are."""

    TYPE: ClassVar[str] = "unreadable"

    event: str
    size: int
    head: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class LossRecord:
    """Events that were lost since the last such record."""

    TYPE: ClassVar[str] = "loss"

    where: str
    count: int
    consequence: str


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """The first record of each file of a run's evidence but the first file."""

    TYPE: ClassVar[str] = "segment"

    number: int
    before: str
    before_digest: str
    before_records: int


@dataclass(frozen=True, slots=True)
class Outlived:
    """A process that was still running when the run ended."""

    pid: int
    comm: str


@dataclass(frozen=True, slots=True)
class PolicyCounts:
    """What was judged by one of the policies of a run."""

    policy_digest: str
    connections: dict[str, int]
    queries: dict[str, int]


@dataclass(frozen=True, slots=True)
class ChoiceCounts:
    """What became of the containers, of which only some were to be watched."""

    wanted: list[str]
    unmatched: list[str]
    """What no container was proved to be: such a run is incomplete."""
    containers: dict[str, int]
    """By whether they are watched, as in `ContainerRecord`."""
    connections: dict[str, int]
    """Those that were not recorded: of `other` containers, and `outside` of all."""
    queries: dict[str, int]


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The last record: what was seen, what was lost, and the verdict on the run."""

    TYPE: ClassVar[str] = "run.end"

    verdict: RunVerdict
    complete: bool
    incomplete_reasons: list[str]
    connections: dict[str, int]
    queries: dict[str, int]
    processes: int
    losses: dict[str, int]
    unattributed_flows: int
    unknown_modules: int
    unknown_code: int
    bypasses: int
    unnamed_addresses: int
    canaries: dict[str, int]
    evidence: Literal["whole", "replaced", "changed", "unchecked"]
    sent_packets: int
    sent_bytes: int
    command_status: int | None
    command_signal: int | None
    exit_status: int
    outlived: list[Outlived]
    duration_ms: int
    masked: dict[str, int]
    """How many secrets were masked in the records, by kind."""
    policies: list[PolicyCounts] = field(default_factory=list[PolicyCounts])
    """In their order, if the policy was read again during the run."""
    origins: dict[str, int] = field(default_factory=dict[str, int])
    """How many connections there are of each origin; `unknown` is one."""
    choice: ChoiceCounts | None = None
    """None: all in the scope was watched."""
    guard: dict[str, int] = field(default_factory=dict[str, int])
    """How many connections there are of each `GuardState`."""
