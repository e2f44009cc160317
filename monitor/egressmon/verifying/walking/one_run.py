"""Verify the evidence of one run, and look for secrets in it."""

from functools import partial
from pathlib import Path

from egressmon.verifying.findings import Findings, UnreadableError, Verified
from egressmon.verifying.rejudging.policies import Policies
from egressmon.verifying.result import Result, Wanted
from egressmon.verifying.sequence.parts import Files
from egressmon.verifying.walking.evidence_file import EvidenceFile
from egressmon.verifying.walking.leaks import leaks_in

_POLICY_NAMES = ("policy.toml", "egress.toml", "pyproject.toml")


def policy_paths(folders: list[str], wanted: Wanted) -> list[str]:
    """Return where the policies of runs in `folders` may be."""
    found = [str(Path(one, name)) for one in folders for name in _POLICY_NAMES]
    named = [wanted.policy] if wanted.policy is not None else []
    return [*found, *named, *wanted.policies]


def verify_run(
    files: Files, policies: Policies, wanted: Wanted, result: Result
) -> Verified | None:
    """Verify the run in `files`; return what it is, or None if it cannot be read."""
    heads: dict[int, str] = {}
    anchors = wanted.anchors
    on_head = None
    if anchors is not None:
        on_head = partial(_note_head, anchors.numbers(), heads)
    file = EvidenceFile(files.paths[0], policies, on_head, files)
    try:
        file.verify()
    except UnreadableError as error:
        result.unreadable.append(error)
        return None
    if anchors is not None:
        anchors.check(file.verified, heads, file.findings)
    for path in files.paths:
        search(path, file.findings)
    result.take(file.findings)
    result.files.append(file.verified)
    return file.verified


def _note_head(
    numbers: frozenset[int], heads: dict[int, str], number: int, head: str
) -> None:
    if number in numbers:
        heads[number] = head


def search(path: str, findings: Findings) -> None:
    """Note the secrets in the file at `path`."""
    for leak in leaks_in(path):
        findings.add("secret", leak, path=path)
