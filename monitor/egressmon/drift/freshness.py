"""Whether the nightly comparison is in place: a reviewed baseline, and a recent run."""

import os
from datetime import date
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from egressmon.drift.files import is_whole, runs_at
from egressmon.drift.toml_form import digest_of
from egressmon.drift.toml_reading import read_baseline
from egressmon.errors import UsageError

if TYPE_CHECKING:
    from egressmon.policy.language.default import Drift as DefaultSettings
    from egressmon.policy.language.drift import Drift

    Settings: TypeAlias = Drift | DefaultSettings


class Freshness(NamedTuple):
    """How old the baseline and the last run are, for people."""

    found: bool | None
    """Whether both are there, reviewed and recent; None: it is not known."""
    says: str
    remedy: str = ""


def freshness_of(settings: "Settings", folder: Path, today: date) -> Freshness:
    """Return what there is of what `settings` name, from the policy's `folder` on."""
    if settings.baseline is None:
        return Freshness(
            False,
            "the policy names no baseline (drift.baseline)",
            "egressmon baseline write EVIDENCE -o FILE",
        )
    path = _path(folder, settings.baseline)
    if not os.path.lexists(path):
        write = f"egressmon baseline write EVIDENCE -o {path}"
        return Freshness(False, f"there is no baseline at {path}", write)
    try:
        baseline = read_baseline(path)
    except UsageError as error:
        return Freshness(False, str(error), error.hint)
    review = f"egressmon baseline update {path} --reviewed-by NAME --reason TEXT"
    if not baseline.reviews:
        return Freshness(False, f"nobody has reviewed {path}", review)
    last = baseline.reviews[-1]
    if digest_of(baseline.content) != last.digest:
        return Freshness(False, f"{path} was edited since its last review", review)
    told = f"reviewed {_age(last.date, today)} by {last.by}"
    return _run(settings, folder, today, told)


def _run(settings: "Settings", folder: Path, today: date, told: str) -> Freshness:
    if settings.evidence is None:
        what = f"{told}; where the nightly run is, is not known (drift.evidence)"
        return Freshness(None, what, "set drift.evidence in the policy")
    path = _path(folder, settings.evidence)
    again = f"egressmon watch --evidence {path} -- COMMAND"
    if os.path.isdir(path):  # noqa: PTH112 -- False where it may not be asked
        again = f"egressmon watch --evidence {path}/NAME.jsonl -- COMMAND"
    try:
        runs = runs_at([path])
        torn = [*takewhile(lambda one: not is_whole(one), reversed(runs))]
    except UsageError as error:
        return Freshness(False, f"{told}; no last run: {error}", again)
    if len(torn) == len(runs):
        why = "no run that has ended and is complete"
        return Freshness(False, f"{told}; {why}", again)
    began = runs[-1 - len(torn)].began[:10]
    days = _days(began, today)
    if days is None:
        return Freshness(None, f"{told}; when the last run was is not known", again)
    told += f"; last run {_age(began, today)}"
    if torn:
        told += f" ({len(torn)} after it did not end, or is incomplete)"
    if days >= settings.max_age_days:
        why = f"{told}: {settings.max_age_days} days are too many"
        return Freshness(False, why, again)
    return Freshness(True, told)


def _path(folder: Path, name: str) -> str:
    return str(folder / name)


def _days(day: str, today: date) -> int | None:
    try:
        days = (today - date.fromisoformat(day)).days
    except ValueError:
        return None
    return max(0, days) if days >= -1 else None  # tomorrow is today elsewhere


def _age(day: str, today: date) -> str:
    days = _days(day, today)
    if days is None:
        return f"on {day}"
    return "today" if not days else f"{days} day{'' if days == 1 else 's'} ago"
