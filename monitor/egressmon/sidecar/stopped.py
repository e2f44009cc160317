"""What a sidecar answers to `stop`: how the run ended."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, cast

from egressmon.sidecar.client import AskError
from egressmon.values import dataclass, field

INCOMPLETE = 121
STATUSES = (0, 120, INCOMPLETE)
VERDICTS = ("clean", "violations", "incomplete")
MAX_LISTED = 50
_HINT = "is its egressmon of another version? `egressmon verify` reads the evidence"


@dataclass(frozen=True, slots=True)
class Violation:
    """What was reached against the policy, by whom, and why that is one."""

    destination: str
    process: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end of a run, as its sidecar tells it."""

    run: str
    verdict: str
    exit_status: int
    """0 only if the run was concluded, and is not incomplete."""
    is_concluded: bool
    """Whether it ended by a `stop` with the token."""
    evidence: str
    """The folder, on the sidecar's machine."""
    head: str
    records: int
    connections: dict[str, int]
    """By verdict."""
    queries: dict[str, int]
    incomplete_reasons: list[str]
    violations: list[Violation]
    """The first 50."""
    origins: dict[str, int] = field(default_factory=dict[str, int])
    """Connections, by what they belong to."""
    steps: dict[str, int] = field(default_factory=dict[str, int])
    """Connections, by the step of a CI job; the 50 with the most."""
    follows: str | None = None
    """The run before, where this one goes on with its probes."""


def goes_on_from(run: str) -> str:
    """Return what to know of a run that took up the probes of the one called `run`."""
    return f"it goes on from the run {run}: what that saw is in evidence of its own"


def stopped_of(answer: Mapping[str, Any]) -> Stopped:
    """Return what `answer` says; raises AskError if it is not what a sidecar says.

    What contradicts itself is never a success.
    """
    verdict = _text(answer, "verdict")
    status = _count(answer, "exit_status")
    if verdict not in VERDICTS or status not in STATUSES:
        raise _unknown("exit_status" if verdict in VERDICTS else "verdict")
    concluded = answer.get("concluded")
    if not isinstance(concluded, bool):
        raise _unknown("concluded")
    if status == 0 and (verdict == "incomplete" or not concluded):
        status = INCOMPLETE
    return Stopped(
        run=_text(answer, "run"),
        verdict=verdict,
        exit_status=status,
        is_concluded=concluded,
        evidence=_text(answer, "evidence"),
        head=_text(answer, "head"),
        records=_count(answer, "records"),
        connections=_counts(answer, "connections"),
        queries=_counts(answer, "queries"),
        incomplete_reasons=[
            one for one in _items(answer, "incomplete_reasons") if isinstance(one, str)
        ],
        violations=[
            _violation(one) for one in _items(answer, "violations")[:MAX_LISTED]
        ],
        origins=_counts(answer, "origins") if "origins" in answer else {},
        steps=_counts(answer, "steps") if "steps" in answer else {},
        follows=_text(answer, "follows") if answer.get("follows") else None,
    )


def _violation(found: Any) -> Violation:
    if not isinstance(found, dict):
        raise _unknown("violations")
    fields = cast("dict[str, Any]", found)
    names = ("destination", "process", "reason")
    if not all(isinstance(fields.get(name), str) for name in names):
        raise _unknown("violations")
    return Violation(*(str(fields[name]) for name in names))


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise _unknown(name)
    return value


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if not _is_count(value):
        raise _unknown(name)
    return value


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _counts(fields: Mapping[str, Any], name: str) -> dict[str, int]:
    found = fields.get(name)
    if not isinstance(found, dict):
        raise _unknown(name)
    counts = cast("dict[str, Any]", found)
    if not all(map(_is_count, counts.values())):
        raise _unknown(name)
    return counts


def _items(fields: Mapping[str, Any], name: str) -> list[Any]:
    found = fields.get(name)
    if not isinstance(found, list):
        raise _unknown(name)
    return [*cast("Sequence[Any]", found)]


def _unknown(name: str) -> AskError:
    return AskError(f"the sidecar's answer is not understood: {name}", _HINT)
