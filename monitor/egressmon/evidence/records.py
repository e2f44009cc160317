"""The records of the evidence, their fields in the order in which they are written.

What is unknown is None, and a field beside it has the reason. docs/evidence.md explains
each field; a test compares the two.
"""

from typing import ClassVar, Literal, TypeAlias

from egressmon.evidence.code_records import (
    ClaimRecord,
    CodeRecord,
    CodeStatus,
    ModuleRecord,
    ModuleReference,
    NativeRecord,
    StackRecord,
)
from egressmon.evidence.guard_records import NOT_ASKED, GuardState
from egressmon.values import dataclass, field

SCHEMA = "egressmon/2"

Origin: TypeAlias = Literal["job", "container", "engine", "machine"]
"""What a connection belongs to: a CI job, a container, a container engine, the rest."""
StepSystem: TypeAlias = Literal["github", "gitlab", "buildkite", "jenkins"]
RunVerdict: TypeAlias = Literal["clean", "violations", "incomplete"]
Watched: TypeAlias = Literal["yes", "no", "doubt", "open"]
"""Whether a container is watched; `doubt`: it is, as it is not known to be another;
`open`: its engine has not answered yet."""


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


WRITTEN_AS: dict[type, type] = {Actor: ActorReference, ModuleRecord: ModuleReference}
"""What is written in the place of such a value: it refers to a record by its digest."""


@dataclass(frozen=True, slots=True)
class NameRecord:
    """A host name, how it is known, and who asked for it."""

    name: str
    source: str
    asked_by: Literal["thread", "process", "ancestor", "other"] | None = None


@dataclass(frozen=True, slots=True)
class Translated:
    """Where this machine sends a connection instead (NAT)."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Relayed:
    """What a helper of a container engine repeats: another process's connection."""

    helper: str
    place: int | None
    pid: int


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection: where it goes, or where it comes from."""

    ip: str
    port: int | None
    names: list[NameRecord]
    sni: str | None = None
    translated: Translated | None = None


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A DNS look-up: who asked which resolver for what, and the answer."""

    TYPE: ClassVar[str] = "dns"

    protocol: str
    resolver: str
    name: str | None
    asked: str | None
    kind: str | None
    status: str | None
    answers: list[str]
    answer_count: int | None
    unread_bytes: int
    trusted: bool
    process: Actor | None
    process_reason: str | None
    verdict: str
    rule: str | None
    reason: str
    module: ModuleRecord | None
    module_reason: str | None
    route: str
    route_reason: str | None
    bypass: bool | None
    code: CodeRecord | None
    code_reason: str | None
    count: int = 1
    place: int | None = 0
    """Where the asker is: 0 is the machine itself, others have a `place` record; None:
    nobody's."""
    origin: Origin | None = None
    origin_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """An attempt to reach a peer, or a peer that connected to the command."""

    TYPE: ClassVar[str] = "connection"

    op: str
    protocol: str
    family: str
    socket: Literal["scope", "foreign"]
    dst: Peer
    process: Actor | None
    process_reason: str | None
    verdict: str
    action: Literal["observed"]
    rule: str | None
    reason: str
    module: ModuleRecord | None
    module_reason: str | None
    route: str
    route_reason: str | None
    bypass: bool | None
    code: CodeRecord | None
    code_status: CodeStatus
    code_reason: str | None
    local_port: int | None = None
    """The port at which a peer was accepted."""
    claimed: list[ClaimRecord] = field(default_factory=list[ClaimRecord])
    place: int | None = 0
    """As in `DnsRecord`: only what was looked up there names the peer."""
    origin: Origin | None = None
    origin_reason: str | None = None
    relayed: Relayed | None = None
    """For whom a helper made it; such a connection is counted where it was begun."""
    guard: GuardState | None = None
    """What a guard inside the process had to do with it, as the process claims."""
    guard_reason: str | None = NOT_ASKED


@dataclass(frozen=True, slots=True)
class PlaceRecord:
    """A network namespace with names of its own, and how names are looked up there."""

    TYPE: ClassVar[str] = "place"

    number: int
    netns: int
    """The kernel's cookie of it."""
    container: str | None
    """The key of the container there, as in `ActorRecord`; None: none that is known."""
    pid: int
    """The process by which it was met."""
    comm: str
    resolvers: list[str]
    """The DNS servers that are trusted there."""
    search: list[str]
    ndots: int
    hosts: int
    """How many names of its own hosts file are believed."""
    reasons: list[str]
    """Why not more is believed."""


@dataclass(frozen=True, slots=True)
class EscapeRecord:
    """A process opened a way out that the hooks do not see."""

    TYPE: ClassVar[str] = "escape"

    what: str
    family: str | None
    path: str | None
    listener: int | None
    process: Actor | None
    process_reason: str | None
    doubt: bool
    reason: str


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
class HeartbeatRecord:
    """A run that lasts is alive: what it has counted, and that its probes are there."""

    TYPE: ClassVar[str] = "heartbeat"

    connections: dict[str, int]
    queries: dict[str, int]
    processes: int
    losses: dict[str, int]
    attached: int | None
    """How many probes still are attached; None: that could not be asked."""
    probes: int | None
    """How many should be."""
    forgotten: dict[str, int] = field(default_factory=dict[str, int])
    """What was let go of to bound the memory, by what it was."""
    before: int | None = 0
    """Violations of the runs that this one goes on from; None: that is not known."""
    doubts: int = 0
    """How many reasons there are so far for which the run is incomplete."""


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """Somebody asked something of a run that lasts."""

    TYPE: ClassVar[str] = "control"

    verb: str
    allowed: bool
    reason: str
    pid: int | None
    uid: int | None
    inside: bool | None
    """Whether that process is in the scope; None: it is not known."""
    count: int = 1
    """How often, since the last such record."""


@dataclass(frozen=True, slots=True)
class GapRecord:
    """Nobody watched for some time: before the run, or during it."""

    TYPE: ClassVar[str] = "gap"

    since: str | None
    """When somebody last watched for sure; None: it is not known."""
    until: str
    reason: str
    doubt: bool
    """Whether the run is incomplete for it."""
    before: str | None = None
    """The run before, which did not end; None: it is this one, or not known."""
    before_head: str | None = None
    """The digest of the last line of that run."""


@dataclass(frozen=True, slots=True)
class RestartRecord:
    """The run goes on where another one was cut off: the probes stayed attached."""

    TYPE: ClassVar[str] = "restart"

    before: str
    """The run before."""
    before_head: str | None
    """The digest of its last line; None: its evidence is not here, or not readable."""
    ended: bool | None
    """Whether that line is its end; None: it is not known."""
    since: str | None
    """When that line was written; None: it is not known."""
    until: str
    """From when on somebody reads again."""
    kept_by: Literal["systemd", "bpffs"]
    waiting: int
    """How many events nobody had read."""
    again: int
    """How many were read by the run before, and perhaps not recorded: they are read
    again, so that the evidence of both may have them."""
    losses: dict[str, int]
    """What was lost since the run before last recorded losses, by kind."""
    violations: int | None
    """Of the run before, and of those that it went on from; None: it is not known."""
    doubted: bool | None
    """Whether they were incomplete for more than that nobody concluded them."""
    doubt: bool
    """Whether this run is incomplete for it."""
    reason: str | None
    """Why."""


@dataclass(frozen=True, slots=True)
class ClockRecord:
    """Somebody set the machine's clock: the times of the run go on as they were."""

    TYPE: ClassVar[str] = "clock"

    machine: Literal["ahead", "behind"]
    """How the machine's clock is to the times of this run now."""
    by_ms: int


@dataclass(frozen=True, slots=True)
class ExistingRecord:
    """A TCP connection that was there before a run that lasts; it is not judged."""

    TYPE: ClassVar[str] = "existing"

    protocol: Literal["tcp"]
    dst: str
    port: int
    local: str
    local_port: int
    process: Actor | None
    """One that has it open."""
    process_reason: str | None


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """The policy of a run that lasts was read again: what follows is judged by it."""

    TYPE: ClassVar[str] = "policy"

    policy: str
    policy_digest: str
    before: str
    """The digest of the policy until now."""
    resolvers: list[str]
    """Those that the policy trusts."""
    reason: str
    """Why whoever asked for it may."""
    pid: int | None
    uid: int | None
    inside: bool | None
    """Whether that process is in the scope; None: it is not known."""
    connections: dict[str, int]
    """By verdict, those that were judged by the policy until now."""
    queries: dict[str, int]


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """Who a container is: at its first sight, and again once its engine has answered.

    Other records refer to it by its key.
    """

    TYPE: ClassVar[str] = "container"

    key: str
    engine: str
    id: str | None
    cgroup: str | None
    """The path of its cgroup, from the hierarchy's root."""
    made_by: int | None
    """The uid of who made that cgroup, and so could choose its name."""
    outer: str | None
    """The key of the container in which it is."""
    name: str | None
    image: str | None
    labels: list[str]
    labels_cut: bool
    pid: int | None
    """Its first process, as its engine says."""
    confirmed: bool
    """Whether its engine, and who made the cgroup, leave no doubt about its id."""
    reason: str | None
    """Why it is not confirmed, or has no name."""
    watched: Watched | None = None
    """None: whatever is in the scope is."""
    watched_reason: str | None = None
    """Why it is in doubt, or as another is."""


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


Record: TypeAlias = (
    RunStart
    | ProcessRecord
    | DnsRecord
    | ConnectionRecord
    | PlaceRecord
    | EscapeRecord
    | StackRecord
    | ActorRecord
    | StepRecord
    | NativeRecord
    | CanaryRecord
    | PhaseRecord
    | HeartbeatRecord
    | ControlRecord
    | PolicyRecord
    | ExistingRecord
    | GapRecord
    | RestartRecord
    | ClockRecord
    | ContainerRecord
    | UnreadableRecord
    | LossRecord
    | SegmentRecord
    | RunEnd
)
