"""Find the evidence in the files and folders that somebody names, run by run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from egressmon.auditing.doubts import Doubts
from egressmon.errors import UsageError
from egressmon.locking import EVIDENCE_LOCK
from egressmon.locking.making import lock_of
from egressmon.verifying.findings import Findings
from egressmon.verifying.walking.grouping import files_in, together

_WHAT = "name evidence: what `--evidence` wrote, or a folder with some"


def runs_at(paths: Sequence[str], doubts: Doubts) -> list[tuple[str, ...]]:
    """Return the files of each run at `paths`, in a fixed order, and each run once.

    What is missing, or cannot be read, is noted in `doubts`. Raises UsageError where
    there is no evidence.
    """
    named: list[str] = []
    found: list[tuple[str, ...]] = []
    for path in paths:
        if Path(path).is_dir():
            found += _below(path, doubts)
        else:
            named.append(path)
    found += (tuple(sorted(one)) for one in together(named))
    return list(dict.fromkeys(found))


def _below(folder: str, doubts: Doubts) -> Iterator[tuple[str, ...]]:
    try:
        made = lock_of(folder, EVIDENCE_LOCK, policy=None, plan=None, tools={})
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}", _WHAT) from error
    for path, why in made.refused:
        doubts.add(f"{folder}/{path} was left out: it is {why}")
    if not made.lock.heads:
        raise UsageError(f"{folder} has no evidence in it", _WHAT)
    findings = Findings(folder)
    segmented = files_in(folder, made.lock.files, made.lock.heads, findings)
    for one in findings.found:
        doubts.add(f"{one.path}: {one.message}")
    inside = {path for run in segmented for path in run.paths}
    yield from (run.paths for run in segmented if run.paths)
    alone = (str(Path(folder, one)) for one in sorted(made.lock.heads))
    yield from ((path,) for path in alone if path not in inside)
