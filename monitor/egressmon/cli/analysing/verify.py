"""`egressmon verify`: is evidence what was recorded, and does it say what it proves?"""

import sys
from typing import Any

from egressmon.cli.requests import VerifyRequest
from egressmon.errors import UsageError
from egressmon.proofs.judging.rejudged import claims_of
from egressmon.reports.writing.explaining import explanation, safe
from egressmon.reports.writing.json_text import json_text
from egressmon.verifying.findings import Finding, UnreadableError, Verified
from egressmon.verifying.rejudging.policies import Policies
from egressmon.verifying.result import Claim, Result, Wanted
from egressmon.verifying.walking.grouping import together
from egressmon.verifying.walking.place import verify
from egressmon.verifying.witnesses.anchors import Anchors
from egressmon.verifying.witnesses.bundles import Identity

SCHEMA = "egressmon-verify/1"
_FINDING, _UNREADABLE = 1, 2


def command(request: VerifyRequest) -> int:
    """Verify the paths of `request`, print what was found, and return the status."""
    wanted = _wanted(request)
    result = Result()
    for path, *more in together(request.paths):
        try:
            _join(result, verify(path, wanted, tuple(more)))
        except UnreadableError as error:
            result.unreadable.append(error)
    for path in request.policies:
        _policy_used(path, result)
    (_print_json if request.format == "json" else _print_text)(result)
    return _status(result)


def _wanted(request: VerifyRequest) -> Wanted:
    identity = None
    if (request.subject is None) is not (request.issuer is None):
        raise UsageError(
            "a sigstore identity is a name and who vouches for it",
            "give --sigstore-identity and --sigstore-issuer together",
        )
    if request.subject is not None and request.issuer is not None:
        identity = Identity(request.subject, request.issuer)
    anchors = Anchors(request.anchor) if request.anchor is not None else None
    return Wanted(
        anchors=anchors,
        allowed_signers=request.allowed_signers,
        identity=identity,
        judge=claims_of,
        policies=tuple(request.policies),
    )


def _join(result: Result, other: Result) -> None:
    result.files += other.files
    result.found += other.found
    result.more += other.more
    result.unreadable += other.unreadable
    result.proofs += other.proofs
    result.inner += other.inner
    result.notes += [one for one in other.notes if one not in result.notes]


# A policy that was named, and is that of no run, was named in error or was changed.
def _policy_used(path: str, result: Result) -> None:
    digests = Policies([path]).digests
    if not digests:
        raise UsageError(f"the policy {path} cannot be read", "name another file")
    (digest,) = digests
    if all(digest not in one.policy_digests for one in result.files):
        what = f"it is the policy of no run here: its digest is {digest}"
        result.found.append(Finding("policy", path, what))


def _status(result: Result) -> int:
    if result.unreadable:
        return _UNREADABLE
    return _FINDING if result.found else 0


def _print_text(result: Result) -> None:
    lines = [_shown(one) for one in result.found]
    if result.more:
        lines.append(f"{result.more} more findings of these kinds")
    wrong = {one.path for one in result.found if one.kind != "part"}
    for file in result.files:
        is_wrong = not wrong.isdisjoint((file.path, *file.more))
        lines += _of_file(file, is_wrong=is_wrong)
    lines += map(_of_proof, result.proofs)
    lines += [f"note: {note}" for note in result.notes]
    for line in lines:
        sys.stdout.write(f"{safe(line)}\n")
    for error in result.unreadable:
        sys.stderr.write(explanation(error, error.hint))


def _shown(one: Finding) -> str:
    where = f"{one.path}:{one.line}" if one.line is not None else one.path
    at = f" (byte {one.offset})" if one.offset is not None else ""
    return f"{where}: {one.kind}: {one.message}{at}"


# What is as it was made can be a proof of a failure.
def _of_proof(one: Claim) -> str:
    state = "as made" if one.is_as_made else "NOT AS MADE"
    return f"{one.path}: the proof is {state}; it says {one.verdict}: {one.reason}"


def _of_file(file: Verified, *, is_wrong: bool) -> list[str]:
    state = "a part, as recorded" if file.is_part else "as recorded"
    if is_wrong:
        state = "NOT AS RECORDED"
    about = f"run {file.run}, {file.records} records, says {file.verdict or 'no end'}"
    path = file.path
    if file.more:
        path += f" (and {len(file.more)} more)"
    lines = [f"{path}: {state}; {about}; head {file.head}"]
    lines += [f"{file.path}: {remark}" for remark in file.remarks]
    if file.unjudged is not None:
        lines.append(f"{file.path}: verdicts were not judged again: {file.unjudged}")
        return lines
    lines.append(f"{file.path}: {file.judged} verdicts judged again, with this result")
    lines += [
        f"{file.path}: {count} verdicts rest on what no record has: {what}"
        for what, count in sorted(file.resting.items())
    ]
    return lines


def _print_json(result: Result) -> None:
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "status": _status(result),
        "findings": [_finding_as_json(one) for one in result.found],
        "more_findings": result.more,
        "files": [_as_json(one) for one in result.files],
        "proofs": [
            {
                "path": one.path,
                "verdict": one.verdict,
                "reason": one.reason,
                "as_made": one.is_as_made,
            }
            for one in result.proofs
        ],
        "notes": result.notes,
        "unreadable": [
            {"message": str(one), "hint": one.hint} for one in result.unreadable
        ],
    }
    sys.stdout.write(f"{json_text(found)}\n")


def _finding_as_json(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "path": one.path,
        "line": one.line,
        "offset": one.offset,
        "message": one.message,
    }


def _as_json(file: Verified) -> dict[str, Any]:
    return {
        "path": file.path,
        "more": file.more,
        "part": file.is_part,
        "run": file.run,
        "records": file.records,
        "bytes": file.size,
        "head": file.head,
        "verdict": file.verdict,
        "complete": file.complete,
        "policy_digest": file.policy_digest,
        "policy_digests": file.policy_digests,
        "judged": file.judged,
        "resting": dict(file.resting),
        "unjudged": file.unjudged,
        "remarks": file.remarks,
    }
