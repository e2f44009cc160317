"""Refer to what many records repeat by a digest, so that it is written only once."""

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import TypeAlias

from blake3 import blake3

from egressmon.evidence import gate
from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import (
    Actor,
    ActorRecord,
    ActorReference,
    Step,
    StepRecord,
    StepReference,
)
from egressmon.evidence.records.code import (
    CodeRecord,
    ModuleRecord,
    ModuleReference,
    NativeRecord,
    StackRecord,
)
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    DnsRecord,
    EscapeRecord,
    ExistingRecord,
)

_DIGEST_BYTES = 16
_WITH_PROCESS = (ConnectionRecord, DnsRecord, EscapeRecord, ExistingRecord)

ValueRecord: TypeAlias = StackRecord | ActorRecord | StepRecord | NativeRecord
"""A record that others refer to by its digest."""


def digest_of(content: object) -> str:
    """Return the digest of `content` as it is written: 32 hexadecimal digits."""
    return blake3(gate.admit(content)[0]).hexdigest(_DIGEST_BYTES)


def referring(record: Record) -> tuple[object, tuple[ValueRecord, ...]]:
    """Return `record` as it is written, and the records that it refers to.

    References stand in the place of what it repeats; a value is without its digest.
    """
    if isinstance(record, ValueRecord):
        fields = _fields(record)
        del fields["digest"]
        return fields, ()
    if not isinstance(record, _WITH_PROCESS):
        return record, ()
    fields = _fields(record)
    values: list[ValueRecord] = []
    if record.process is not None:
        fields["process"] = _actor(record.process, values)
    if isinstance(record, ConnectionRecord | DnsRecord):
        if record.module is not None:
            fields["module"] = _module(record.module, values)
        if isinstance(record.code, CodeRecord):
            values += record.code.stacks
    return fields, tuple(values)


def _actor(process: Actor, values: list[ValueRecord]) -> ActorReference:
    names = gate.names(ActorRecord)[1:]
    content = gate.Fields({name: getattr(process, name) for name in names})
    if process.step is not None:
        content["step"] = _step(process.step, values)
    digest = digest_of(content)
    values.append(ActorRecord(digest, **content))
    return ActorReference(process.pid, process.tid, process.comm, digest)


def _step(step: Step, values: list[ValueRecord]) -> StepReference:
    content = gate.Fields({name: getattr(step, name) for name in gate.names(Step)})
    content["claimed"] = True
    digest = digest_of(content)
    values.append(StepRecord(digest, **content))
    return StepReference(step.name, digest)


def _module(module: ModuleRecord, values: list[ValueRecord]) -> ModuleReference:
    digest = digest_of(module)
    values.append(
        NativeRecord(
            digest, module.caller, module.binding, module.chain, module.chain_end
        )
    )
    return ModuleReference(digest)


def _fields(record: Record) -> gate.Fields:
    kind: type = type(record)
    return gate.Fields(zip(gate.names(kind), _getter(kind)(record), strict=True))


@cache
def _getter(kind: type) -> Callable[[object], tuple[object, ...]]:
    return attrgetter(*gate.names(kind))
