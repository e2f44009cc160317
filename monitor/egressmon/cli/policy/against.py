"""`egressmon policy check --against`: the policy beside what was really reached."""

import sys

from egressmon.auditing.coverage import compare
from egressmon.auditing.telling import as_json, as_text
from egressmon.policy.reading.file import LoadedPolicy
from egressmon.text import guarded


def against(
    loaded: LoadedPolicy, evidence: list[str], form: str, *, strict: bool
) -> int:
    """Print how the policy and `evidence` differ in `form`: text or json.

    Returns the exit status: 0 they fit; 1 they do not, or, if `strict`, an entry has no
    `by` that could have one; 2 not all could be compared. Raises UsageError for what
    cannot be read.
    """
    found = compare(loaded, evidence)
    output = guarded(sys.stdout)
    lines = [as_json(found, loaded)] if form == "json" else as_text(found, loaded)
    for line in lines:
        output.write(f"{line}\n")
    if found.doubts:
        return 2
    return int(found.differs or (strict and bool(found.findings)))
