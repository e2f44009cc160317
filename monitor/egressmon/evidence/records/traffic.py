"""The records of what left or came in: connections, look-ups, and ways out."""

from typing import ClassVar, Literal, TypeAlias

from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.code import (
    ClaimRecord,
    CodeRecord,
    CodeStatus,
    ModuleRecord,
)
from egressmon.evidence.records.guard import NOT_ASKED, GuardState
from egressmon.values import dataclass, field

Origin: TypeAlias = Literal["job", "container", "engine", "machine"]
"""What a connection belongs to: a CI job, a container, a container engine, the rest."""


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
