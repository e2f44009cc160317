"""Make a proof: one run after the other, and then what they say together.

It reads what the watched processes wrote, sent and printed, so it has no rights but
those of their user.
"""

import os
import re
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from blake3 import blake3

from egressmon.clock import Clock
from egressmon.errors import EgressmonError
from egressmon.evidence.anchoring import Anchor, open_anchor
from egressmon.host import egressmon_version
from egressmon.policy.reading.file import LoadedPolicy
from egressmon.proofs.judging.closing import changes, locked, no_secret, signed
from egressmon.proofs.judging.criteria import (
    Criterion,
    RunReport,
    Verdict,
    bounded,
    judge_all,
    judge_run,
    verdict_of,
)
from egressmon.proofs.judging.facts import Facts, read_facts
from egressmon.proofs.judging.summary import SummaryOf, page, run_summary, whole_summary
from egressmon.proofs.plans.file import LoadedPlan
from egressmon.proofs.playing.backstage import Backstage
from egressmon.proofs.playing.errors import ScenarioError
from egressmon.proofs.playing.managed import Interrupts
from egressmon.proofs.playing.progress import Progress
from egressmon.proofs.playing.scenario import PhaseResult, Scenario
from egressmon.proofs.playing.surroundings import Surroundings, known_secrets
from egressmon.proofs.starting.channel import Channel
from egressmon.proofs.written.folder import Folder
from egressmon.proofs.written.known import KnownSecrets
from egressmon.proofs.written.locked import EVIDENCE_LOCK, PLAN, policy_name
from egressmon.proofs.written.scratch import Scratch
from egressmon.reports.writing.explaining import explanation
from egressmon.startup import patience
from egressmon.text import printable
from egressmon.values import dataclass
from egressmon.verifying.witnesses.signatures import sign

PASSED, FAILED, INCOMPLETE, CANNOT = 0, 120, 121, 125
_GRAVITY = (PASSED, INCOMPLETE, FAILED)
_STATUSES = {"PASS": PASSED, "FAIL": FAILED, "INCOMPLETE": INCOMPLETE}
EVIDENCE, SUMMARY, PAGE = "evidence.jsonl", "summary.json", "SUMMARY.md"
_RUN_END_S = 15.0
_RUN = re.compile(r"[\w.:-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What is to be proven, and where the proof goes."""

    loaded: LoadedPlan
    policy: LoadedPolicy
    output: str
    environment: Mapping[str, str]
    quiet: bool
    sign_key: str | None = None
    """The file of the SSH key that signs the lock."""
    anchor: str | None = None
    """Where the heads of the runs and the digest of the lock are told of."""


class Conductor:
    """Makes one proof."""

    def __init__(self, assignment: Assignment, starter: Channel) -> None:
        self._assignment = assignment
        self._plan = assignment.loaded.plan
        self._starter = starter
        self._interrupts = Interrupts()
        self._progress = Progress(self._plan.runs, quiet=assignment.quiet)
        self._reports: list[RunReport] = []
        self._folders: list[Folder] = []
        self._doubts: list[str] = []
        self._clock = Clock()
        self._began_ns = self._clock.now_ns()
        self._known = KnownSecrets()
        self._locked = ""
        """The text of the lock, once it is made."""
        self._anchor: Anchor | None = None

    def conduct(self) -> int:
        """Make the proof and return the exit status."""
        if self._assignment.sign_key is not None:
            sign(b"", self._assignment.sign_key)  # better now than after an hour
        if self._assignment.anchor is not None:
            self._anchor = Anchor(open_anchor(self._assignment.anchor), None)
        self._known = known_secrets(self._plan, self._assignment.environment)
        folder = Folder.make(self._assignment.output)
        self._write_beginning(folder)
        try:
            for number in range(1, self._plan.runs + 1):
                if not self._run(folder, number):
                    break
        except OSError as error:
            self._doubts.append(f"the proof could not be written: {error}")
        except Exception as error:  # noqa: BLE001 -- what there is must be concluded
            what = self._known.masked(repr(error))
            self._doubts.append(f"prove itself failed: {what}; this is a defect")
        return self._conclude(folder)

    # As long as nothing else is there, this is what the folder says.
    def _write_beginning(self, folder: Folder) -> None:
        loaded, policy = self._assignment.loaded, self._assignment.policy
        folder.write(PLAN, loaded.text.encode())
        if (name := policy_name(policy)) is not None:
            folder.write(name, policy.text.encode())
        unfinished = Criterion("runs", "unproven", "the proof was not finished")
        self._write_summary(folder, [unfinished])

    def _run(self, folder: Folder, number: int) -> bool:
        self._progress.begin_run(number)
        inner = folder.make_inner(f"run-{number:02d}")
        self._folders.append(inner)
        backstage = Backstage(self._starter, self._interrupts, self._progress)
        backstage.deadline = time.monotonic() + self._plan.limits.run
        with _scratch() as scratch:
            around = Surroundings(
                self._assignment.loaded.folder,
                scratch,
                number,
                self._assignment.environment,
                self._known,
            )
            scenario = Scenario(self._plan, around, backstage, self._progress)
            failure = self._play(inner, scenario, backstage)
        report = self._report(number, inner, scenario, backstage, failure)
        self._reports.append(report)
        self._tell_head(report.facts, backstage.end)
        self._keep(inner, report, scenario.results, backstage)
        is_made = backstage.error is None and failure is None
        return is_made and not scenario.is_interrupted and not report.failures

    # As the agent has it in its memory, whatever is in the file by now.
    def _tell_head(self, facts: Facts, end: dict[str, Any] | None) -> None:
        if self._anchor is None or end is None or facts.run is None:
            return
        if end["head"] is not None and _RUN.fullmatch(facts.run):
            self._anchor.tell(facts.run, end["records"] - 1, end["head"])
            self._say_unanchored()

    def _tell_lock(self, digest: str) -> None:
        if self._anchor is not None:
            self._anchor.tell_lock(digest)
            self._say_unanchored()

    def _say_unanchored(self) -> None:
        if self._anchor is not None and self._anchor.failure is not None:
            why = f"a line is not where --anchor says: {self._anchor.failure}"
            sys.stderr.write(f"egressmon: {why}\n")

    def _play(
        self, inner: Folder, scenario: Scenario, backstage: Backstage
    ) -> str | None:
        linger_s = self._plan.limits.stop
        try:
            path = str(inner.path / EVIDENCE)
            backstage.begin(path, inner.create(EVIDENCE), linger_s)
        except ScenarioError as error:
            backstage.finish(_RUN_END_S + linger_s)
            return str(error)
        try:
            scenario.play()
        finally:
            backstage.finish(_RUN_END_S + linger_s)
        return None

    def _report(
        self,
        number: int,
        inner: Folder,
        scenario: Scenario,
        backstage: Backstage,
        failure: str | None,
    ) -> RunReport:
        facts = _facts(inner)
        failures = [
            f"phase {one.name}: {one.reason}"
            for one in scenario.results
            if one.reason is not None
        ]
        doubts = [failure] if failure is not None else []
        doubts += _compared(facts, backstage)
        seconds = sum(one.seconds for one in scenario.results)
        return RunReport(number, facts, failures, doubts, seconds)

    def _keep(
        self,
        inner: Folder,
        report: RunReport,
        results: list[PhaseResult],
        backstage: Backstage,
    ) -> None:
        for managed in backstage.processes.values():
            inner.write(f"{managed.name}.log", managed.log.sanitised(self._known))
        criteria = judge_run(self._plan, report)
        statuses = {one.name: one.status for one in backstage.processes.values()}
        inner.write(SUMMARY, run_summary(report, criteria, results, statuses))

    def _conclude(self, folder: Folder) -> int:
        self._doubts += changes(folder, self._folders)
        if self._interrupts.count:
            self._doubts.append("it was interrupted")
        criteria = judge_all(self._plan, self._reports, bounded(self._doubts))
        criteria.append(no_secret([folder, *self._folders], self._known))
        verdict, reason = self._finish(folder, criteria)
        where = printable(self._assignment.output, 5000)
        lines = [f"{verdict}: {printable(reason, 500)}", f"{where}/{PAGE}"]
        if self._locked:
            digest = blake3(self._locked.encode()).hexdigest()
            lines.append(f"{where}/{EVIDENCE_LOCK} blake3:{digest}")
            self._tell_lock(f"blake3:{digest}")
        with suppress(OSError):
            sys.stdout.write("\n".join([*lines, ""]))
        problem = signed(folder, self._locked, self._assignment.sign_key)
        if problem:
            sys.stderr.write(f"error: the proof is not signed: {printable(problem)}\n")
        status = INCOMPLETE if problem else PASSED
        return max(_STATUSES[verdict], status, key=_GRAVITY.index)

    def _finish(self, folder: Folder, criteria: list[Criterion]) -> tuple[Verdict, str]:
        try:
            self._write_summary(folder, criteria)
            if problem := self._lock(folder):
                criteria.append(Criterion("lock", "unproven", problem))
                self._write_summary(folder, criteria)
                self._lock(folder)
        except OSError as error:
            why = f"the proof could not be written: {error.strerror}"
            criteria.append(Criterion("written", "unproven", why))
            self._write_little(folder, criteria[-1])
        return verdict_of(criteria)

    # What there is must not say more than this; without room for it, it says nothing.
    def _write_little(self, folder: Folder, criterion: Criterion) -> None:
        self._locked = ""
        for name in (SUMMARY, PAGE, EVIDENCE_LOCK):
            with suppress(OSError):
                folder.forget(name)
        self._reports.clear()
        with suppress(OSError):
            self._write_summary(folder, [criterion])

    def _lock(self, folder: Folder) -> str:
        policy = policy_name(self._assignment.policy)
        self._locked, problem = locked(folder, self._folders, policy)
        return problem

    def _write_summary(self, folder: Folder, criteria: list[Criterion]) -> None:
        assignment = self._assignment
        about = SummaryOf(
            assignment.loaded,
            assignment.policy.digest,
            criteria,
            self._reports,
            self._clock.rfc3339(self._began_ns)[:19] + "Z",
            # As the JSON has it: the page can be made again from that.
            round((self._clock.now_ns() - self._began_ns) / 1e9, 3),
            egressmon_version(),
        )
        folder.write(SUMMARY, whole_summary(about))
        folder.write(PAGE, page(about))


def conduct(assignment: Assignment, starter: Channel) -> int:
    """Make a proof, print how it went, and return the exit status."""
    try:
        return Conductor(assignment, starter).conduct()
    except EgressmonError as error:
        sys.stderr.write(explanation(error, error.hint))
        return CANNOT
    except OSError as error:
        why = printable(error.strerror or error)
        sys.stderr.write(
            f"error: the proof cannot be written to {printable(assignment.output)}: "
            f"{why}\nhint: name another place with --output\n"
        )
        return CANNOT


def _facts(inner: Folder) -> Facts:
    try:
        inner.seal(EVIDENCE)
        with os.fdopen(inner.open(EVIDENCE), "rb") as file:
            return read_facts(file)
    except OSError as error:
        return Facts(broken=f"it cannot be read: {error.strerror}")


# The agent has told, from its own memory, what it wrote.
def _compared(facts: Facts, backstage: Backstage) -> list[str]:
    end = backstage.end
    if backstage.was_ended:
        return ["the run did not end by itself: what still ran was killed"]
    if end is None:
        return [backstage.error or "the run ended without an end"]
    if end["failure"] is not None:
        return [f"the evidence could not be written: {end['failure']}"]
    if (end["head"], end["records"]) != (facts.head, facts.records):
        return ["the evidence is not what was written: it was changed since"]
    return []


@contextmanager
def _scratch() -> Generator[str]:
    scratch = Scratch()
    try:
        yield scratch.path
    finally:
        if left := scratch.remove():
            patience.say(f"egressmon: {printable(left, 1000)}\n")
