"""What a run that lasts does when it is asked, or when it is due."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from egressmon import host
from egressmon.evidence.records import Record
from egressmon.evidence.records.lasting import ClockRecord, GapRecord, HeartbeatRecord
from egressmon.evidence.records.running import PhaseRecord
from egressmon.keeping.signals import EndRequest
from egressmon.naming.served import Served
from egressmon.runs.follow import is_running
from egressmon.runs.lasting.chosen import Chosen
from egressmon.runs.lasting.gaps import Beats
from egressmon.runs.lasting.reloading import Reloading
from egressmon.runs.lasting.rounds import Rounds
from egressmon.runs.session import Session
from egressmon.sensor.found_scope import FoundScope
from egressmon.sidecar.notifying import State
from egressmon.sidecar.permissions import Caller

if TYPE_CHECKING:
    from egressmon.containers.known import Containers

_MAX_CGROUP = 8192
_MAX_DOUBTS = 100


class AskedSession(Session):
    """A run, as its overseer knows it."""

    reloading: Reloading
    containers: "Containers | None" = None
    chosen: Chosen | None = None
    """Those of them that are watched; None: all that is in the scope is."""
    served: Served
    """Where this machine serves DNS to containers."""
    rounds: Rounds
    """The canaries that are sent as long as it lasts."""

    _before: int | None = 0
    """Violations of the runs that this one goes on from; None: not known."""

    def isolated(self, what: str) -> AbstractContextManager[None]:
        """Keep the run going whatever fails inside; the failure is recorded."""
        return self._isolated(what)

    @property
    def run(self) -> str:
        """The run's identifier."""
        return self._state.evidence.run

    @property
    def follows(self) -> str | None:
        """The run whose probes this one took up, if any."""
        kept = self._live.sensor.engine.kept
        return kept.run if kept is not None else None

    def is_inside(self, pid: int) -> bool:
        """Tell whether the process `pid` is in the scope."""
        scope = self._live.scope
        if self.chosen is not None:
            return self.chosen.is_inside(pid)
        if isinstance(scope, FoundScope) and scope.goes_by_lineage:
            process = self._state.knowledge.processes.get(pid)
            return process is not None and is_running(process)
        parts = scope.watched.relative_to(scope.root).parts
        place = "".join(f"/{part}" for part in parts)
        with suppress(OSError):
            with open(f"/proc/{pid}/cgroup", "rb") as file:  # noqa: PTH123 -- bounded
                text = file.read(_MAX_CGROUP).decode(errors="replace")
            for line in text.splitlines():
                if line.startswith("0::"):
                    return f"{line[3:]}/".startswith(f"{place}/")
        return not parts

    def record(self, record: Record) -> None:
        """Write `record` of this moment."""
        self._recorder.record(record)

    def end(self) -> None:
        """Let the run end."""
        self._live.keeper.end()

    def reload_request(self) -> EndRequest:
        """Return what tells that a signal asked for a reload."""
        return self._live.armed.keeper_setup.relay.reloading

    def reload(self, caller: Caller, reason: str) -> str:
        """Judge by the policy as it is now; return why not, or ""."""
        self.notify(State.RELOADING)
        if self.containers is not None:  # what is kept was judged by the old policy
            self.containers.settle("the policy was read again before that was known")
        try:
            return self.reloading.reload(self._pipeline, caller, reason)
        finally:
            self.notify(State.READY)

    def notify(self, state: State) -> None:
        """Tell the service manager, if there is one."""
        standing = self._state.options.standing
        if standing is None or standing.notifier is None:
            return
        counts = self._state.tally.seen_connections
        with self._isolated("telling the service manager"):
            self._live.keeper.notify(state, counts.total(), counts["violation"])

    def begin_phase(self, name: str, before: str | None) -> None:
        """Begin the phase `name` now, and end the one `before`, if any."""
        phases, now = self._state.evidence.phases, self._state.clock.now_ns()
        if before is not None:
            self._recorder.record_at(PhaseRecord(before, "end", "completed"), now)
            phases.end(now)
            now += 1
        phases.begin(name, now)
        self._recorder.record_at(PhaseRecord(name, "begin"), now)

    def tidy(self) -> None:
        """Let go of what nothing will be told of any more."""
        if self._state.knowledge.processes.proc_is_ours:
            self._pipeline.tidy(host.is_there)
            self._pipeline.forgotten["members"] += self._live.keeper.sweep()

    def beats(self, every_s: float) -> Beats:
        """Return what tells when heartbeats are due."""
        return Beats(every_s, self._state.clock)

    def record_gaps(self, found: Iterable[GapRecord | ClockRecord]) -> None:
        """Record when nobody watched, and how the clock was set."""
        for one in found:
            self._recorder.record(one)
            if isinstance(one, GapRecord) and one.doubt:
                self.doubt(f"there is a gap: {one.reason}")

    def record_heartbeat(self) -> None:
        """Record that the run is alive."""
        attached, probes = self._attached()
        counts = self.counts()
        self._recorder.record(
            HeartbeatRecord(
                connections=counts["connections"],
                queries=counts["queries"],
                processes=counts["processes"],
                losses=self._live.sensor.losses(),
                attached=attached,
                probes=probes,
                forgotten=self._pipeline.counts_of_forgotten(),
                before=self._before,
                doubts=counts["doubts"],
            )
        )
        if attached is None or attached != probes:
            self.doubt("probes were detached during the run, or could not be asked for")

    def doubt(self, why: str) -> None:
        """Let the run be incomplete for this reason, too."""
        doubts = self._state.ending.doubts
        if why not in doubts and len(doubts) < _MAX_DOUBTS:
            doubts.append(why)

    def counts(self) -> dict[str, Any]:
        """Return what was counted so far."""
        tally = self._state.tally
        return {
            "run": self._state.evidence.run,
            "records": self._state.evidence.records,
            "head": self._state.evidence.head,
            "lost": self._state.evidence.lost,
            "connections": dict(tally.connections),
            "queries": dict(tally.queries),
            "processes": tally.processes,
            "policies": self.reloading.digests(),
            "doubts": len(self._state.ending.doubts) + len(tally.escapes),
            **(self.chosen.status() if self.chosen is not None else {}),
        }

    def _attached(self) -> tuple[int | None, int | None]:
        try:
            return self._live.keeper.attached()
        except OSError:
            return None, None
