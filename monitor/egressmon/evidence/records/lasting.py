"""The records that only a run that lasts makes."""

from typing import ClassVar, Literal, TypeAlias

from egressmon.values import dataclass, field

Watched: TypeAlias = Literal["yes", "no", "doubt", "open"]
"""Whether a container is watched; `doubt`: it is, as it is not known to be another;
`open`: its engine has not answered yet."""


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
