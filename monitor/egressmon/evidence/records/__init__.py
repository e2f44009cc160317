"""The records of the evidence, their fields in the order in which they are written.

What is unknown is None, and a field beside it has the reason. docs/evidence.md explains
each field; a test compares the two.
"""

from typing import TypeAlias

from egressmon.evidence.records.actors import (
    Actor,
    ActorRecord,
    ActorReference,
    ProcessRecord,
    StepRecord,
)
from egressmon.evidence.records.code import (
    ModuleRecord,
    ModuleReference,
    NativeRecord,
    StackRecord,
)
from egressmon.evidence.records.lasting import (
    ClockRecord,
    ContainerRecord,
    ControlRecord,
    GapRecord,
    HeartbeatRecord,
    PolicyRecord,
    RestartRecord,
)
from egressmon.evidence.records.running import (
    CanaryRecord,
    LossRecord,
    PhaseRecord,
    RunEnd,
    RunStart,
    SegmentRecord,
    UnreadableRecord,
)
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    DnsRecord,
    EscapeRecord,
    ExistingRecord,
    PlaceRecord,
)

SCHEMA = "egressmon/2"

WRITTEN_AS: dict[type, type] = {Actor: ActorReference, ModuleRecord: ModuleReference}
"""What is written in the place of such a value: it refers to a record by its digest."""

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
