"""Compare a directory with its lock."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from egressmon.locking.form import EVIDENCE_LOCK, Lock, LockError, Pinned, read_lock
from egressmon.locking.making import Made, lock_of
from egressmon.values import dataclass

Word: TypeAlias = Literal["missing", "changed", "unlisted", "stale", "malformed"]
"""missing: listed, and not there. changed: there, with another content. unlisted:
there, and not listed. stale: a `#` line that is not true of the files any more.
malformed: what no lock can have, in the lock or in the directory."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a directory and its lock differ."""

    word: Word
    path: str
    """Relative to the directory; the lock's own name if it is about that."""
    message: str
    line: int | None = None
    """In the lock, from 1."""


def check(
    directory: str,
    name: str = EVIDENCE_LOCK,
    *,
    tools: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return where the files in `directory` differ from its lock `name`, by path.

    Where `tools` are given, a lock that was made by others is `stale`; else those that
    it names are not looked at. Raises OSError if the directory cannot be read.
    """
    try:
        lock = read_lock(str(Path(directory, name)))
    except LockError as error:
        is_there = os.path.lexists(Path(directory, name))
        word: Word = "malformed" if is_there else "missing"
        return [Finding(word, name, str(error), error.line)]
    made = lock_of(
        directory,
        name,
        policy=lock.policy.path if lock.policy else None,
        plan=lock.plan.path if lock.plan else None,
        tools=lock.tools if tools is None else tools,
    )
    return list(differences(lock, made, name))


def differences(lock: Lock, made: Made, name: str) -> Iterator[Finding]:
    """Yield where `lock`, which is called `name`, differs from the one `made` now."""
    for path, why in made.refused:
        yield Finding("malformed", path, f"is {why}")
    refused = {path for path, _ in made.refused}
    found = made.lock.files
    for path in sorted({*lock.files, *found} - refused):
        if path not in found:
            yield Finding("missing", path, "is in the lock, but not there")
        elif path not in lock.files:
            yield Finding("unlisted", path, "is there, but not in the lock")
        elif found[path] != lock.files[path]:
            yield Finding("changed", path, "is not what was locked")
    yield from _stale(lock, made.lock, name)


def _stale(lock: Lock, now: Lock, name: str) -> Iterator[Finding]:
    for path in sorted({*lock.heads, *now.heads}):
        if lock.heads.get(path) != now.heads.get(path):
            what = f"the head of {path} is {now.heads.get(path) or 'none'}"
            yield Finding("stale", name, f"{what}, and the lock has another")
    for what, locked, found in (
        ("policy", lock.policy, now.policy),
        ("plan", lock.plan, now.plan),
    ):
        if locked != found:
            yield Finding("stale", name, f"the {what} is {_shown(found)}")
    if lock.tools != now.tools:
        known = ", ".join(f"{one} {value}" for one, value in now.tools.items())
        yield Finding("stale", name, f"it was made by others than {known or 'none'}")


def _shown(pinned: Pinned | None) -> str:
    return f"{pinned.digest} by now" if pinned else "not there any more"
