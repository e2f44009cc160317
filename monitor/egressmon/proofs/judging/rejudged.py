"""Judge a proof again: its summaries must be what egressmon makes of its records."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from egressmon.errors import UsageError
from egressmon.files.bounded import open_regular
from egressmon.host import egressmon_version
from egressmon.locking import EVIDENCE_LOCK, LockError, read_lock
from egressmon.locking.opening import open_itself
from egressmon.proofs.judging import claimed
from egressmon.proofs.judging.claimed import Json
from egressmon.proofs.judging.criteria import Criterion, RunReport, judge_all, judge_run
from egressmon.proofs.judging.facts import Facts, read_facts
from egressmon.proofs.judging.summary import SummaryOf, page, run_summary, whole_summary
from egressmon.proofs.plans.file import LoadedPlan, load_plan
from egressmon.proofs.plans.plan import Plan
from egressmon.proofs.written.locked import PLAN, tool_digest
from egressmon.verifying.findings import Finding, Verified
from egressmon.verifying.witnesses.criteria import SUMMARY, NoSummaryError, read_summary

_PAGE, _EVIDENCE = "SUMMARY.md", "evidence.jsonl"
_RUN = re.compile(r"run-(\d\d)", re.ASCII)
_MAX_PAGE = 64 << 20


def claims_of(path: str, runs: Mapping[str, Verified]) -> Iterator[Finding | str]:
    """Yield what the proof at `path` claims that its records do not say.

    `runs` are its runs, by their path in it. Of what is no proof, nothing is said.
    """
    numbers = _numbers(path)
    parts = (PLAN, _PAGE, SUMMARY)
    if not numbers and not any(_is_there(path, one) for one in parts[:2]):
        return
    wanted = [*parts, EVIDENCE_LOCK]
    wanted += [f"run-{one:02d}/{name}" for one in numbers for name in _OF_RUN]
    for name in wanted:
        if not _is_there(path, name):
            yield _finding(path, f"is no proof without {name}")
    yield from _twice(runs)
    try:
        summary = read_summary(str(Path(path, SUMMARY)))
        loaded = load_plan(str(Path(path, PLAN)), claimed.overrides(summary))
    except NoSummaryError:
        return  # it was told of
    except UsageError as error:
        yield _finding(path, f"its plan cannot be judged by: {error}")
        return
    yield from _of_lock(path, summary, loaded)
    yield from _of_makers(summary, runs)
    yield from _of_summaries(path, summary, loaded, numbers)


_OF_RUN = (_EVIDENCE, SUMMARY)


def _of_summaries(
    path: str, summary: Json, loaded: LoadedPlan, numbers: list[int]
) -> Iterator[Finding]:
    reports: list[RunReport] = []
    for number in numbers:
        folder = str(Path(path, f"run-{number:02d}"))
        try:
            of_run = read_summary(str(Path(folder, SUMMARY)))
        except NoSummaryError:
            of_run = {}
        report = _report(number, folder, of_run, loaded.plan)
        reports.append(report)
        yield from _of_run(folder, of_run, report, loaded.plan)
    about = _about(summary, loaded, reports, is_locked=_is_there(path, EVIDENCE_LOCK))
    yield from _differences(str(Path(path, SUMMARY)), summary, whole_summary(about))
    yield from _of_page(str(Path(path, _PAGE)), page(about))


def _of_run(
    folder: str, summary: Json, report: RunReport, plan: Plan
) -> Iterator[Finding]:
    results = claimed.phases(summary)
    made = run_summary(
        report, judge_run(plan, report), results, claimed.statuses(summary)
    )
    path = str(Path(folder, SUMMARY))
    yield from _differences(path, summary, made)
    yield from _of_processes(path, claimed.statuses(summary), plan)
    completed = [name for name, _, how in report.facts.phases if how == "completed"]
    told = [one.name for one in results if one.reason is None]
    # A mark may be among what there was no room for.
    is_unclear = report.doubts or report.failures or report.facts.is_cut
    if not is_unclear and told != completed:
        yield _finding(path, "its `phases` are not those of the evidence")


def _of_processes(
    path: str, statuses: Mapping[str, int | None], plan: Plan
) -> Iterator[Finding]:
    known = {one.name for one in plan.process}
    known |= {f"phase-{one.name}" for one in plan.phase if one.command is not None}
    for name in sorted(statuses.keys() - known):
        yield _finding(path, f"its `processes` has {name}, which the plan has not")


def _report(number: int, folder: str, summary: Json, plan: Plan) -> RunReport:
    facts = _facts(str(Path(folder, _EVIDENCE)))
    failures = [
        f"phase {one.name}: {one.reason}"
        for one in claimed.phases(summary)
        if one.reason is not None
    ]
    first = judge_run(plan, RunReport(number, facts, failures, []))[0]
    doubts = claimed.doubts(summary, first.name, first.details)
    return RunReport(number, facts, failures, doubts)


def _facts(path: str) -> Facts:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return read_facts(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Facts(broken=f"it cannot be read: {reason}")


def _about(
    summary: Json, loaded: LoadedPlan, reports: list[RunReport], *, is_locked: bool
) -> SummaryOf:
    alone = None if is_locked else claimed.unfinished(summary)
    reports = reports if alone is None else []
    return SummaryOf(
        loaded,
        claimed.policy(summary),
        _criteria(summary, loaded.plan, reports) if alone is None else [alone],
        reports,
        claimed.began(summary),
        claimed.seconds(summary),
        claimed.version(summary),
    )


def _criteria(summary: Json, plan: Plan, reports: list[RunReport]) -> list[Criterion]:
    doubts = claimed.doubts(summary, "nothing was changed", [])
    return [*judge_all(plan, reports, doubts), *claimed.added(summary)]


def _differences(path: str, found: Json, made: bytes) -> Iterator[Finding]:
    data = _content(path)
    if data is None or data == made:
        return  # one that is not there was told of
    wanted: Json = orjson.loads(made)
    told = [*_of_criteria(found, wanted)]
    for name, value in wanted.items():
        if found.get(name) != value and (name == "verdict" or not told):
            shown, again = _shown(found.get(name)), _shown(value)
            told.append(f"its `{name}` is {shown}; made again: {again}")
    for what in told or ["is not in the one form in which egressmon writes it"]:
        yield _finding(path, what)


def _of_criteria(found: Json, wanted: Json) -> Iterator[str]:
    said = {one.name: one.result for one in claimed.criteria(found)}
    for one in claimed.criteria(wanted):
        result = said.get(one.name, "not there")
        if result != one.result:
            why = one.details[0] if one.details else one.figures
            again = "is unproven" if one.result == "unproven" else one.result
            what = f"its criterion `{one.name}` is {result}"
            yield f"{what}; judged again it {again} ({why})"


def _shown(value: object) -> str:
    return orjson.dumps(value).decode()[:200]


def _of_page(path: str, made: bytes) -> Iterator[Finding]:
    data = _content(path)
    if data is None or data == made:
        return
    lines, wanted = data.split(b"\n"), made.split(b"\n")
    pairs = enumerate(zip(lines, wanted, strict=False), 1)
    at = next(
        (number for number, (one, other) in pairs if one != other),
        min(len(lines), len(wanted)),
    )
    what = "is not the page that egressmon makes of the records"
    yield Finding("criteria", path, what, at)


def _twice(runs: Mapping[str, Verified]) -> Iterator[Finding]:
    seen: dict[str | None, str] = {}
    for one in runs.values():
        # A copy under another name began at the same nanosecond.
        for what in {one.run, one.head, one.began} - {None}:
            if what in seen:
                same = f"is the same run as {seen[what]}: {what}"
                yield Finding("criteria", one.path, same)
                break
            seen[what] = one.path


# What a proof rests on is locked with it.
def _of_lock(path: str, summary: Json, loaded: LoadedPlan) -> Iterator[Finding | str]:
    where = str(Path(path, EVIDENCE_LOCK))
    try:
        lock = read_lock(where)
    except LockError:
        return  # it was told of
    if lock.plan is None or lock.plan.digest != loaded.digest:
        yield Finding("lock", where, f"its plan is not {PLAN} of {loaded.digest}")
    pinned = lock.policy.digest if lock.policy is not None else None
    if pinned != claimed.policy(summary):
        yield Finding("lock", where, f"its policy is {pinned}, not that of {SUMMARY}")
    tool = f"egressmon {claimed.version(summary)}"
    if list(lock.tools) != [tool]:
        named = ", ".join(lock.tools) or "none"
        yield Finding("lock", where, f"its tools are {named}, and it was by {tool}")
    elif tool == f"egressmon {egressmon_version()}" and lock.tools[tool] != (
        digest := tool_digest()
    ):
        yield f"{where}: made by another build of {tool} than this one, {digest}"


# Of another version, it would have been made otherwise.
def _of_makers(summary: Json, runs: Mapping[str, Verified]) -> Iterator[Finding]:
    version = claimed.version(summary)
    for one in runs.values():
        if one.egressmon != version:
            what = f"is by egressmon {one.egressmon}, and {SUMMARY} by {version}"
            yield Finding("criteria", one.path, what, 1)
        if one.policy_kind == "learning":
            what = "was judged as `egressmon learn` does, which no proof is"
            yield Finding("policy", one.path, what, 1)


def _numbers(path: str) -> list[int]:
    with os.scandir(path) as entries:
        return sorted(
            int(found[1])
            for one in entries
            if (found := _RUN.fullmatch(one.name)) and one.is_dir(follow_symlinks=False)
        )


def _is_there(path: str, name: str) -> bool:
    return os.path.lexists(Path(path, name))


def _content(path: str) -> bytes | None:
    try:
        with os.fdopen(open_itself(path), "rb") as file:
            return file.read(_MAX_PAGE)
    except (OSError, ValueError):
        return None


def _finding(path: str, message: str) -> Finding:
    return Finding("criteria", path, message)
