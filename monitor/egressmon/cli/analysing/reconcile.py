"""`egressmon reconcile`: what only one of the kernel and a guard saw."""

import sys
from collections import Counter
from datetime import UTC, datetime

import orjson

from egressmon.reconciling.joining import KINDS, Finding, Joined, join
from egressmon.reconciling.sightings import Key, from_evidence, from_ledgers
from egressmon.text import guarded, printable

_MAX_SHOWN = 1000
_WHAT = {
    "defied": "left although the guard refused it",
    "around": "went around the guard",
    "unguarded": "by a process that has no ledger",
    "unseen": "the guard let it pass, and the kernel saw nothing of it",
}


def reconcile(evidence: str, ledgers: list[str], *, as_json: bool) -> int:
    """Print what only one of `evidence` and `ledgers` has; return the exit status.

    0: they agree; 1: they do not; 2: one of them does not have all. Raises UsageError
    if one cannot be read.
    """
    kernel, guard = from_evidence(evidence), from_ledgers(ledgers)
    joined = join(kernel, guard)
    problems = [*kernel.problems, *guard.problems]
    output = guarded(sys.stdout)
    for line in _json(joined, problems) if as_json else _text(joined):
        output.write(line + "\n")
    for one in problems[:_MAX_SHOWN]:
        sys.stderr.write(f"egressmon: not comparable: {printable(one, 1000)}\n")
    if len(problems) > _MAX_SHOWN:
        sys.stderr.write(f"egressmon: {len(problems) - _MAX_SHOWN} more such lines\n")
    return 2 if problems else int(bool(joined.findings))


def _text(joined: Joined) -> list[str]:
    lines = [_line(one) for one in joined.findings[:_MAX_SHOWN]]
    if (more := len(joined.findings) - _MAX_SHOWN) > 0:
        lines.append(f"{more} more")
    counts = Counter(one.kind for one in joined.findings)
    parts = [f"{counts[kind]} {kind}" for kind in KINDS]
    parts += [f"{joined.refused} refused", f"{joined.repeated} asked about again"]
    return [*lines, f"{joined.both} seen by both; {', '.join(parts)}"]


def _line(one: Finding) -> str:
    where, who = printable(_peer(one), 300), printable(one.seen.by, 300)
    process = f"pid {one.seen.key.pid}"
    return f"{one.kind}: {where} by {who} ({process}): {_WHAT[one.kind]}"


def _peer(one: Finding) -> str:
    key: Key = one.seen.key
    host = one.seen.name or key.address
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{key.port}" if key.port else host


def _json(joined: Joined, problems: list[str]) -> list[str]:
    found = {
        "both": joined.both,
        "refused": joined.refused,
        "repeated": joined.repeated,
        "comparable": not problems,
        "findings": [_as_json(one) for one in joined.findings],
    }
    return [orjson.dumps(found).decode()]


def _as_json(one: Finding) -> dict[str, object]:
    seen = one.seen
    at = datetime.fromtimestamp(seen.at, UTC)
    return {
        "kind": one.kind,
        "time": at.isoformat(),
        "pid": seen.key.pid,
        "address": seen.key.address,
        "port": seen.key.port or None,
        "name": printable(seen.name) or None,
        "by": printable(seen.by),
    }
