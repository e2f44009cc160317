"""The last looks at a proof: was it changed by others, does it leak, what is locked."""

from collections.abc import Sequence

from egressmon.errors import EgressmonError
from egressmon.locking import EVIDENCE_LOCK
from egressmon.locking.making import SIGNATURES
from egressmon.proofs.judging.criteria import Criterion, Holds
from egressmon.proofs.written.folder import Folder
from egressmon.proofs.written.known import KnownSecrets
from egressmon.proofs.written.leaks import search
from egressmon.proofs.written.locked import lock
from egressmon.text import printable
from egressmon.verifying.witnesses.signatures import sign


def no_secret(folders: Sequence[Folder], known: KnownSecrets) -> Criterion:
    """Return the criterion that no file of `folders` holds a secret."""
    leaks: list[str] = []
    unread: list[str] = []
    for folder in folders:
        searched = search(folder, known)
        leaks += searched.found
        unread += searched.unread
    result: Holds = "fails" if leaks else "unproven" if unread else "holds"
    return Criterion("no secret", result, f"{len(leaks)} found", leaks + unread)


def changes(folder: Folder, runs: Sequence[Folder]) -> list[str]:
    """Return what others did to the proof's files while it was made, a line each."""
    found: list[str] = []
    names = [one.path.name for one in runs]
    for one in (folder, *runs):
        inner = names if one is folder else ()
        where = "" if one is folder else f"{one.path.name}/"
        if not one.is_there():
            found.append(f"another folder is in the place of {one.path.name}")
        if one.regain():
            found.append(f"{one.path.name}: its mode was changed")
        found += [f"{where}{name} was changed" for name in one.changed()]
        found += [
            f"{where}{printable(name)} was put there by others"
            for name in one.unknown(*inner)
        ]
    return found


def locked(
    folder: Folder, runs: Sequence[Folder], policy: str | None
) -> tuple[str, str]:
    """Make the lock; return its text, and what is wrong with it, or "".

    A file that was changed at the last moment would be in it.
    """
    try:
        made = lock(folder, policy)
    except EgressmonError as error:
        return "", str(error)
    wanted = folder.digests()
    for inner in runs:
        wanted |= inner.digests(f"{inner.path.name}/")
    problem = "" if made.files == wanted else "a file was changed as it was made"
    return made.text(), problem


def signed(folder: Folder, text: str, key: str | None) -> str:
    """Sign the lock's `text` with `key`, if both are there; return what failed."""
    if key is None or not text:
        return ""
    try:
        folder.write(f"{EVIDENCE_LOCK}{SIGNATURES[0]}", sign(text.encode(), key))
    except (EgressmonError, OSError) as error:
        return str(error)
    return ""
