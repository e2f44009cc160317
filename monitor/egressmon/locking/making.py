"""Make the lock of a directory."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress

from egressmon.locking.form import EVIDENCE_LOCK, Lock, LockError, Pinned, why_not
from egressmon.locking.tree import Refused, digested
from egressmon.values import dataclass

SIGNATURES = (".sig", ".sigstore.json")
"""What follows the lock's name in those of its signatures, which no lock has."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Made:
    """The lock that a directory should have, and what no lock can have."""

    lock: Lock
    refused: tuple[Refused, ...]


def write_lock(
    directory: str,
    name: str = EVIDENCE_LOCK,
    *,
    policy: str | None = None,
    plan: str | None = None,
    tools: Mapping[str, str] | None = None,
) -> Lock:
    """Write the lock `name` of all that is in `directory` now, and return it.

    `policy` and `plan` are relative paths of such files in it, whose SHA-256 is noted,
    too; `tools` are digests (`sha256:…` or `blake3:…`) of what made the directory, by
    name and version, such as `egressmon 0.1.0`. The heads of the evidence files' chains
    are found here: those are files `*.jsonl` that begin as evidence does. An earlier
    lock is replaced at once; it and its signatures are not in the lock.

    Raises LockError for a link, a device, a FIFO or a path that no lock can have, and
    where something cannot be read or written.
    """
    try:
        made = lock_of(directory, name, policy=policy, plan=plan, tools=tools or {})
        if made.refused:
            path, why = made.refused[0]
            raise LockError(
                f"no lock can have {path}: it is {why}", "take it out of the directory"
            )
    except OSError as error:
        raise LockError(
            f"{directory} cannot be read: {error.strerror}", "see who may read it"
        ) from error
    replace_file(directory, name, made.lock.text().encode())
    return made.lock


def lock_of(
    directory: str,
    name: str,
    *,
    policy: str | None,
    plan: str | None,
    tools: Mapping[str, str],
) -> Made:
    """Return the lock that `directory` would get now; raises OSError, LockError."""
    files: dict[str, str] = {}
    heads: dict[str, str | None] = {}
    second: dict[str, str] = {}
    refused: list[Refused] = []
    own = {name, *(name + ending for ending in SIGNATURES)}
    named = {one for one in (policy, plan) if one is not None}
    for one in digested(directory, own, named):
        if isinstance(one, Refused):
            if one.path != name:  # it is about to be replaced, or was read
                refused.append(one)
            continue
        files[one.path] = one.blake3
        if one.head is not None:
            heads[one.path] = one.head
        if one.sha256 is not None:
            second[one.path] = one.sha256
    lock = Lock(files, heads, _pin(policy, second), _pin(plan, second), tools)
    return Made(lock, tuple(refused))


def _pin(path: str | None, digests: Mapping[str, str]) -> Pinned | None:
    if path is None or path not in digests:
        return None
    return Pinned(path, digests[path])


def replace_file(directory: str, name: str, data: bytes) -> None:
    """Write `data` to the file `name` of `directory`; raises LockError.

    Under another name first: who reads meanwhile has the old file or the new one,
    whole, and a link in its place is replaced, not followed.
    """
    if why := why_not(name):
        raise LockError(f"no file there can be called {name}: it {why}", "name another")
    try:
        _replace(directory, name, data)
    except OSError as error:
        raise LockError(
            f"{name} cannot be written to {directory}: {error.strerror}",
            "see whether it can be written to",
        ) from error


def _replace(directory: str, name: str, data: bytes) -> None:
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    new = f".{name}.{secrets.token_hex(4)}"
    try:
        with os.fdopen(os.open(new, _NEW, 0o666, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        os.close(folder)
