"""What the summaries of a proof claim that its records cannot tell.

Times, a process's status, the doubts of whoever made it: they are taken as they are
said, as far as they have the right form. None of them can make a proof better.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

from egressmon.proofs.judging.criteria import Criterion
from egressmon.proofs.playing.scenario import PhaseResult
from egressmon.sanitise.redaction import redact
from egressmon.text import unescape

Json = dict[str, Any]
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_MAX_SECONDS = 1e9
_MORE = re.compile(r"… and (\d{1,9}) more", re.ASCII)
_VERSION = re.compile(r"[\w.+-]{1,64}", re.ASCII)
_WORSE = frozenset({"fails", "unproven"})
_ADDED = ("lock",)
_ALONE = frozenset({"runs", "written"})


def overrides(summary: Json) -> list[str]:
    """Return what the command line set in the plan."""
    found = _list(_table(summary.get("plan")).get("set"))
    return [text for one in found if (text := _text(one))]


def policy(summary: Json) -> str | None:
    """Return the digest of the policy, if it had one."""
    return _text(_table(summary.get("policy")).get("digest")) or None


def began(summary: Json) -> str:
    """Return when the proof was begun."""
    found = _matching(_TIME, summary.get("began"))
    try:
        datetime.fromisoformat(found)
    except ValueError:
        return "unknown"
    return found


def version(summary: Json) -> str:
    """Return which egressmon made the proof."""
    return _matching(_VERSION, summary.get("egressmon"))


def seconds(summary: Json) -> float:
    """Return how long something took."""
    found = summary.get("seconds")
    if not isinstance(found, float) or not 0 <= found < _MAX_SECONDS:
        return 0.0
    return found


def phases(summary: Json) -> list[PhaseResult]:
    """Return the phases of a run, with why they failed."""
    return [
        PhaseResult(
            _text(one.get("name")), _text(one.get("failure")) or None, seconds(one)
        )
        for one in _tables(summary.get("phases"))
    ]


def statuses(summary: Json) -> dict[str, int | None]:
    """Return the status of each process of a run."""
    return {
        _text(one.get("name")): status if type(status) is int else None
        for one in _tables(summary.get("processes"))
        for status in (one.get("status"),)
    }


def doubts(summary: Json, name: str, known: list[str]) -> list[str]:
    """Return the details of the criterion `name` before those that are `known`."""
    found = next((one for one in criteria(summary) if one.name == name), None)
    details = found.details if found is not None else []
    known = [redact(one)[0] for one in known]
    more = _MORE.fullmatch(details[-1]) if details else None
    shown = details[:-1] if more is not None else details
    first = len(shown) + (int(more[1]) if more is not None else 0) - len(known)
    is_known = 0 <= first <= len(shown) and shown[first:] == known[: len(shown) - first]
    return shown[:first] if is_known else []


def unfinished(summary: Json) -> Criterion | None:
    """Return the one criterion of a proof that was not brought to its end."""
    found = criteria(summary)
    if len(found) == 1 and found[0].name in _ALONE and found[0].result == "unproven":
        return found[0]
    return None


def added(summary: Json) -> Iterator[Criterion]:
    """Yield the criteria that rest on the proof's files: they have no secret."""
    found = criteria(summary)
    secret = next((one for one in found if one.name == "no secret"), None)
    if secret is None or secret.result not in _WORSE:
        secret = Criterion("no secret", "holds", "0 found")
    yield secret
    for one in found:
        if one.name in _ADDED and one.result == "unproven":
            yield one


def criteria(summary: Json) -> list[Criterion]:
    """Return the criteria as they are claimed."""
    return [
        Criterion(
            _text(one.get("name")),
            cast("Any", _text(one.get("result"))),
            _text(one.get("figures")),
            [unescape(_text(text)) for text in _list(one.get("details"))],
        )
        for one in _tables(summary.get("criteria"))
    ]


def _table(value: object) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}


def _tables(value: object) -> list[Json]:
    return [_table(one) for one in _list(value)]


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _matching(form: re.Pattern[str], value: object) -> str:
    text = _text(value)
    return text if form.fullmatch(text) else "unknown"
