"""How a policy and evidence differ, as text for people or as JSON."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from egressmon.auditing.coverage import Compared
from egressmon.auditing.findings import KINDS, Finding
from egressmon.policy.reading.file import LoadedPolicy
from egressmon.reports.writing.explaining import safe
from egressmon.reports.writing.wording import plural
from egressmon.sanitise.paths import shown_path

_MAX_SHOWN = 1000  # findings, in text
_MAX_DETAILS = 20
_MAX_DOUBTS = 100
_LONGEST = 100_000
_WHAT = {
    "add": "to allow it, write:",
    "replace": "in its place, write:",
    "remove": "to be removed:",
    "decide": "",
}


def as_text(found: Compared, loaded: LoadedPolicy) -> Iterator[str]:
    """Yield lines for people, each escaped; what could not be compared comes first."""
    for doubt in found.doubts[:_MAX_DOUBTS]:
        yield f"not comparable: {safe(doubt)}"
    if (more := len(found.doubts) - _MAX_DOUBTS) > 0:
        yield f"not comparable: {more} more such lines"
    for one in found.findings[:_MAX_SHOWN]:
        yield from _finding(one)
    if (more := len(found.findings) - _MAX_SHOWN) > 0:
        yield f"{more} more: --format json has them"
    yield _counts(found, loaded)


def _finding(one: Finding) -> Iterator[str]:
    where = f"{one.entry}: " if one.entry else ""
    if one.entry and one.line:
        where = f"{one.entry} (line {one.line}): "
    yield f"{one.kind}: {where}{safe(one.text)}"
    for detail in one.details[:_MAX_DETAILS]:
        yield f"  {safe(detail)}"
    if (more := len(one.details) - _MAX_DETAILS) > 0:
        yield f"  and {more} more"
    if one.toml:
        yield f"  {_WHAT[one.change]}"
        for line in one.toml:
            yield f"    {safe(line, _LONGEST)}"


def _counts(found: Compared, loaded: LoadedPolicy) -> str:
    kinds = Counter(one.kind for one in found.findings)
    counts = [f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind]]
    shown = safe(shown_path(str(loaded.path)))
    read = [
        plural(found.runs, "run"),
        plural(found.connections, "connection"),
        plural(found.look_ups, "look-up"),
    ]
    if found.existing:
        read.append(f"{plural(found.existing, 'connection')} from before, not judged")
    if found.probes:
        read.append(f"{plural(found.probes, 'probe')} of egressmon's own left out")
    return f"{shown}: {', '.join(counts) or 'fits'}; {', '.join(read)}"


def as_json(found: Compared, loaded: LoadedPolicy) -> str:
    """Return the whole in JSON: no character of it is one that a terminal obeys."""
    return json.dumps({
        "version": 1,
        "policy": shown_path(str(loaded.path)),
        "policy_digest": loaded.digest,
        "comparable": not found.doubts,
        "doubts": found.doubts,
        "runs": found.runs,
        "connections": found.connections,
        "look_ups": found.look_ups,
        "existing": found.existing,
        "probes": found.probes,
        "findings": [_as_json(one) for one in found.findings],
    })  # fmt: skip


def _as_json(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "counts": one.counts,
        "entry": one.entry,
        "line": one.line,
        "text": one.text,
        "details": [*one.details],
        "change": one.change,
        "toml": "".join(f"{line}\n" for line in one.toml),
    }
