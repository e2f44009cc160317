"""Who made a connection or a look-up: the process, and the code in it."""

from typing import TypedDict

from egressmon.attribution.processes import Processes
from egressmon.attribution.processes.process import LOST
from egressmon.attribution.result import Attribute, Attribution, unknown
from egressmon.events.model import Traffic
from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.code import ClaimRecord, CodeRecord, ModuleRecord
from egressmon.evidence.records.traffic import Origin
from egressmon.naming.asked import Asker
from egressmon.values import dataclass

_UNKNOWN_CONTAINER = "unknown:"


class CallerFields(TypedDict):
    """The fields that connection and look-up records have in common."""

    process: Actor | None
    process_reason: str | None
    module: ModuleRecord | None
    module_reason: str | None
    route: str
    route_reason: str | None
    bypass: bool | None
    code: CodeRecord | None
    code_reason: str | None
    origin: Origin | None
    origin_reason: str | None


@dataclass(frozen=True, slots=True)
class Caller:
    """The process behind an event, and the code in it that made the call."""

    process: Actor | None
    process_reason: str | None
    """Why the process is not, or not wholly, known."""
    source: Attribution
    origin: Origin | None = None
    """What it belongs to."""
    origin_reason: str | None = None
    """Why that is not known."""

    def fields(self) -> CallerFields:
        """Return what a record says of the caller."""
        source = self.source
        return CallerFields(
            process=self.process,
            process_reason=self.process_reason,
            module=source.module,
            module_reason=source.module_reason,
            route=source.route,
            route_reason=source.route_reason,
            bypass=source.bypass,
            code=source.code,
            code_reason=source.code_reason,
            origin=self.origin,
            origin_reason=self.origin_reason,
        )


class Callers:
    """Looks up who is behind each event."""

    def __init__(self, processes: Processes, attribute: Attribute) -> None:
        self._processes = processes
        self._attribute = attribute

    def lookup(self, event: Traffic) -> Caller:
        """Return who made the call that led to `event`.

        To be asked as the event comes: later the process may run another program.
        """
        # A lost exec leaves it open which program runs, so whose mappings these are.
        lost = self._processes.is_lost(event)
        source = unknown(LOST) if lost else self._attribute(event)
        actor, reason = self._processes.actor(event)
        return Caller(actor, reason, source, *self._origin(event, actor))

    # What is in a container is of that, whoever started it.
    def _origin(
        self, event: Traffic, actor: Actor | None
    ) -> tuple[Origin | None, str | None]:
        if actor is None or actor.container is None:
            return self._processes.origin(event)
        if actor.container.startswith(_UNKNOWN_CONTAINER):
            return None, "whether it is in a container is not known"
        return "container", None

    def asker(self, event: Traffic) -> Asker | None:
        """Return the thread behind `event`, as one that asks for names."""
        lineage = self._processes.lineage(event)
        if not lineage:
            return None
        return Asker(lineage[0], event.tid, lineage[1:])

    def claims(self, event: Traffic, caller: Caller) -> list[ClaimRecord]:
        """Return what of `caller` the watched command could have made up."""
        source = caller.source
        process = self._processes.get(event.pid) if caller.process is not None else None
        if process is None:
            return list(source.claimed)
        claims = process.claims() + list(source.claimed)
        if process.preloaded is not None:
            # A preloaded library can replace any function of any module.
            known = {claim.field for claim in claims}
            claims += [
                ClaimRecord(ground.field, process.preloaded)
                for ground in source.grounds
                if ground.field not in known
            ]
        return claims
