"""Play a plan once: start its processes, go through its phases, stop them."""

import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

from egressmon.proofs.plans.destinations import parse_pattern
from egressmon.proofs.plans.plan import (
    PROBE,
    START,
    STOP,
    PhasePlan,
    Plan,
    ProcessPlan,
    Ready,
)
from egressmon.proofs.playing.backstage import Backstage
from egressmon.proofs.playing.errors import (
    InterruptedScenarioError,
    RunGoneError,
    ScenarioError,
)
from egressmon.proofs.playing.managed import Managed
from egressmon.proofs.playing.progress import Progress
from egressmon.proofs.playing.readiness import condition, readiness, require_unready
from egressmon.proofs.playing.requests import Sending
from egressmon.proofs.playing.surroundings import Surroundings, headers_of
from egressmon.values import dataclass

_PROBE_S = 20.0
_MAX_REASON = 2000


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """How a phase went."""

    name: str
    reason: str | None
    """Why it failed; None: it was completed."""
    seconds: float


class Scenario:
    """One performance of a plan."""

    def __init__(
        self,
        plan: Plan,
        surroundings: Surroundings,
        backstage: Backstage,
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._around = surroundings
        self._backstage = backstage
        self._progress = progress
        self.results: list[PhaseResult] = []
        self.is_interrupted = False

    def play(self) -> None:
        """Go through all phases; what fails is in `results`, and ends it in order."""
        try:
            self._start_all(self._plan.starting(None))
            self._probe()
            for phase in self._plan.phase:
                with self._phase(phase.name, self._limit_of(phase)):
                    self._perform(phase)
                if later := self._plan.starting(phase.name):
                    self._start_all(later)
            self._probe()
        except InterruptedScenarioError:
            self.is_interrupted = True
        except ScenarioError:
            pass  # it is in the results
        self._stop()

    def _start_all(self, processes: list[ProcessPlan]) -> None:
        limit = sum(map(self._ready_limit_of, processes))
        with self._phase(START, limit):
            for process in processes:
                self._start(process)

    def _limit_of(self, phase: PhasePlan) -> float:
        if phase.idle is not None:
            return phase.idle
        return phase.limit if phase.limit is not None else self._plan.limits.phase

    @contextmanager
    def _phase(self, name: str, limit_s: float) -> Generator[None]:
        began = time.monotonic()
        self._progress.begin_phase(name, limit_s)
        reason: str | None = None
        try:
            self._backstage.mark(name=name, event="begin")
            yield
        except ScenarioError as error:
            reason = self._around.known.masked(str(error))[:_MAX_REASON]
            raise
        finally:
            with suppress(ScenarioError):
                outcome = "completed" if reason is None else "failed"
                self._backstage.mark(
                    name=name, event="end", outcome=outcome, reason=reason
                )
            seconds = time.monotonic() - began
            self.results.append(PhaseResult(name, reason, seconds))
            self._progress.end_phase(
                "completed" if reason is None else "failed", reason
            )

    def _start(self, process: ProcessPlan) -> None:
        ready = process.ready
        if ready is not None:
            require_unready(process.name, ready, self._around)
        limit = self._ready_limit_of(process)
        began = time.monotonic()
        managed = Managed(process.name, is_lasting=True)
        self._backstage.start(
            managed,
            [self._around.filled(word) for word in process.argv],
            self._around.place(process.cwd),
            self._around.environment_with(process.env),
            limit,
        )
        if ready is not None:
            self._await(managed, ready, began, limit)

    def _ready_limit_of(self, process: ProcessPlan) -> float:
        if process.ready is None or process.ready.limit is None:
            return self._plan.limits.ready
        return process.ready.limit

    def _await(
        self, managed: Managed, ready: Ready, began: float, limit: float
    ) -> None:
        self._backstage.wait(
            readiness(managed, ready, self._around),
            began + limit - time.monotonic(),
            f"{managed.name} was not ready within {limit:g} s: {condition(ready)}",
        )

    def _perform(self, phase: PhasePlan) -> None:
        limit = self._limit_of(phase)
        too_late = f"it took longer than {limit:g} s"
        if phase.command is not None:
            self._command(phase, phase.command, limit, too_late)
        elif phase.request is not None:
            request = phase.request
            headers = headers_of(phase, self._around.environment)
            sending = Sending(request, self._around.filled(request.url), headers, limit)
            sending.start()
            self._backstage.wait(lambda: sending.is_done, limit, too_late)
            if sending.failure is not None:
                raise ScenarioError(
                    f"{request.method} {request.url}: {sending.failure}"
                )
        elif phase.wait_log is not None:
            wanted = phase.wait_log
            log = self._backstage.processes[wanted.process].log
            late = f"{wanted.process} did not write {wanted.pattern!r}: {too_late}"
            self._backstage.wait(lambda: log.has_line(wanted.pattern), limit, late)
        else:
            self._idle(limit)

    def _idle(self, limit: float) -> None:
        ends = time.monotonic() + limit
        self._backstage.wait(
            lambda: time.monotonic() >= ends, limit + 1, "it does not end"
        )

    def _command(
        self, phase: PhasePlan, words: list[str], limit: float, too_late: str
    ) -> None:
        managed = Managed(f"phase-{phase.name}", is_lasting=False)
        ends = time.monotonic() + limit
        self._backstage.start(
            managed,
            [self._around.filled(word) for word in words],
            self._around.place(phase.cwd),
            self._around.environment_with(phase.env),
            limit,
        )
        rest = ends - time.monotonic()
        self._backstage.wait(lambda: not managed.is_running, rest, too_late)
        if managed.status != 0:
            raise ScenarioError(f"the command ended with {managed.how_it_ended()}")

    def _probe(self) -> None:
        if not self._plan.probe:
            return
        backstage = self._backstage
        with self._phase(PROBE, _PROBE_S * len(self._plan.probe)):
            for number, probe in enumerate(self._plan.probe):
                target = parse_pattern(probe.destination)
                name = str(number)
                backstage.probed.pop(name, None)
                backstage.tell_launcher(
                    {
                        "do": "probe",
                        "id": name,
                        "host": target.host or target.address,
                        "port": target.port,
                        "protocol": target.protocol or "tcp",
                    }
                )
                backstage.wait(
                    lambda name=name: name in backstage.probed,  # type: ignore[misc]
                    _PROBE_S,
                    f"the probe of {probe.destination} does not end",
                )

    # In the order opposite to that in which they were started, one by one.
    def _stop(self) -> None:
        backstage, limit = self._backstage, self._plan.limits.stop
        backstage.is_stopping = True
        running = [one for one in backstage.processes.values() if one.is_running]
        try:
            with self._phase(STOP, limit * max(1, len(running))):
                late = [
                    managed.name
                    for managed in reversed(running)
                    if not self._stop_one(managed, limit)
                ]
                _require_none(late, limit)
        except InterruptedScenarioError:
            self.is_interrupted = True
        except ScenarioError:
            pass  # it is in the results

    def _stop_one(self, managed: Managed, limit: float) -> bool:
        how = {one.name: one.stop for one in self._plan.process}
        number = signal.Signals[f"SIG{how.get(managed.name, 'TERM')}"]
        self._backstage.send_signal(managed, number)
        try:
            self._backstage.wait(lambda: not managed.is_running, limit, "late")
        except RunGoneError:
            raise
        except ScenarioError:
            self._backstage.send_signal(managed, signal.SIGKILL)
            return False
        return True


def _require_none(late: list[str], limit: float) -> None:
    if late:
        raise ScenarioError(f"did not end within {limit:g} s: {', '.join(late)}")
