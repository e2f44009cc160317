"""Check that a summary says no more of runs than their evidence does.

A summary of one run is beside its evidence, that of a whole proof at the top. What it
says of a run is made again from the records: who writes a summary could write anything.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, cast

import orjson

from egressmon.locking.form import Lock
from egressmon.locking.opening import open_itself
from egressmon.verifying.findings import Verified

SUMMARY = "summary.json"
_MAX_BYTES = 8 << 20
_PASSED = "PASS"
_HOLDS = "holds"


class NoSummaryError(Exception):
    """A summary cannot be read; the message says why."""


def read_summary(path: str) -> dict[str, Any]:
    """Return the summary at `path`; raises NoSummaryError."""
    try:
        with os.fdopen(open_itself(path), "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise NoSummaryError(f"is longer than {_MAX_BYTES} bytes")
        found = orjson.loads(data)
    except (OSError, ValueError) as error:
        raise NoSummaryError(f"cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise NoSummaryError("is no summary: it has no fields")
    return cast("dict[str, Any]", found)


def of_run(summary: Mapping[str, Any], run: Verified) -> Iterator[str]:
    """Yield what a summary of one run says that its evidence does not."""
    for name in ("records", "head"):
        found = getattr(run, name)
        if name in summary and summary[name] != found:
            yield f"its `{name}` is {summary[name]}, and the evidence has {found}"
    yield from _of_criteria(summary)
    yield from _of_passed(summary, [run])


def of_proof(
    summary: Mapping[str, Any], runs: Mapping[str, Verified], lock: Lock | None
) -> Iterator[str]:
    """Yield what the summary of a proof says that its `runs`, by path, do not."""
    yield from _of_criteria(summary)
    yield from _of_passed(summary, list(runs.values()))
    heads = summary.get("heads")
    found = {path: run.head for path, run in runs.items()}
    if isinstance(heads, dict):  # of a run that did not begin, there is none
        begun = cast("dict[str, Any]", heads).items()
        heads = {path: head for path, head in begun if head is not None}
    if heads is not None and heads != found:
        yield "its `heads` are not those of the evidence below it"
    wanted = _within(summary, "runs", "wanted")
    if isinstance(wanted, int) and _is_passed(summary) and len(runs) < wanted:
        yield f"it says {_PASSED} of {wanted} runs, and there are {len(runs)}"
    policy = _within(summary, "policy", "digest")
    for run in runs.values():
        if "policy" in summary and run.policy_digest != policy:
            yield f"its policy is {policy}, and that of {run.path} is another"
    plan = _within(summary, "plan", "digest")
    if (
        lock is not None
        and lock.plan is not None
        and plan not in {None, lock.plan.digest}
    ):
        yield f"its plan is {plan}, and the plan that is locked is another"


# Its own criteria must have led to its verdict.
def _of_criteria(summary: Mapping[str, Any]) -> Iterator[str]:
    criteria = summary.get("criteria")
    if not _is_passed(summary) or criteria is None:
        return
    if not isinstance(criteria, list) or not _hold(criteria):
        yield f"it says {_PASSED}, and not each of its criteria holds"


def _hold(criteria: Any) -> bool:
    return all(_within(one, "result") == _HOLDS for one in criteria)


def _of_passed(summary: Mapping[str, Any], runs: list[Verified]) -> Iterator[str]:
    if not _is_passed(summary):
        return
    if not runs:
        yield f"it says {_PASSED}, and there is no evidence below it"
    for run in runs:
        if run.verdict is None:
            yield f"it says {_PASSED}, and {run.path} has no end"
        for why in run.unproven:
            yield f"it says {_PASSED}, and of {run.path}: {why}"


def _is_passed(summary: Mapping[str, Any]) -> bool:
    return summary.get("verdict") == _PASSED


def _within(found: Any, *names: str) -> Any:
    for name in names:
        if not isinstance(found, dict):
            return None
        found = cast("dict[str, Any]", found).get(name)
    return found
