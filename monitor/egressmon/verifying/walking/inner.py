"""Find the proofs below a directory: what makes a proof is not looked at from above."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from egressmon.locking import EVIDENCE_LOCK

_RUN = re.compile(r"run-\d\d", re.ASCII)
_OF_PROOF = frozenset({"SUMMARY.md", "plan.toml", "summary.json"})


def proofs_in(paths: Iterable[str]) -> list[str]:
    """Return the folders among the `paths` of files that are proofs, sorted.

    They have a lock, or runs and what is made of them. Those in others are left out.
    """
    locked: set[PurePosixPath] = set()
    described: set[PurePosixPath] = set()
    with_runs: set[PurePosixPath] = set()
    for path in map(PurePosixPath, paths):
        folder = path.parent
        if path.name == EVIDENCE_LOCK:
            locked.add(folder)
        elif path.name in _OF_PROOF:
            described.add(folder)
        if _RUN.fullmatch(folder.name):
            with_runs.add(folder.parent)
    found = (locked | (described & with_runs)) - {PurePosixPath()}
    return sorted(str(one) for one in found if found.isdisjoint(one.parents))
