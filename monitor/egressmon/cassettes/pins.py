"""`cassettes.lock`: which cassettes were reviewed, and clean by which catalog."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from egressmon.cassettes.drift import cassettes_at
from egressmon.cassettes.loading import MalformedError, read_cassette
from egressmon.cassettes.settings import LOCK, near
from egressmon.locking import Finding, Lock, LockError, check, read_lock, write_lock
from egressmon.sanitise.catalog.listed import KINDS
from egressmon.sanitise.words.secret_names import MEANING
from egressmon.scan.names import NameSearch
from egressmon.scan.search import FileSearch, Leak, Unsearched
from egressmon.scan.walk import entries

_CATALOG = "secrets catalog"
_STALE = (
    "another catalog of secrets was used: scan the cassettes by the one of this "
    "egressmon, and lock them again"
)


def catalog_digest() -> str:
    """Return a digest of what counts as a secret, for the lock."""
    said = repr((KINDS, sorted(MEANING)))
    return f"sha256:{hashlib.sha256(said.encode()).hexdigest()}"


def lock_cassettes(directory: str) -> Lock:
    """Write the lock of `directory`; raises LockError."""
    return write_lock(directory, LOCK, tools={_CATALOG: catalog_digest()})


def locked(directory: str) -> dict[str, str]:
    """Return the digests in the lock of `directory`, by path; none if it has none."""
    try:
        return dict(read_lock(str(Path(directory, LOCK))).files)
    except LockError:
        return {}


def verify_cassettes(directory: str) -> Iterator[Finding]:
    """Yield what is wrong with the cassettes in `directory`; raises OSError.

    A folder without a lock of its own, such as that of a vendor, is held to the one of
    the nearest folder above that has one.
    """
    folder = Path(directory).absolute()
    top = _locked_folder(folder)
    for finding in check(str(top), LOCK, tools={_CATALOG: catalog_digest()}):
        path = top / finding.path
        if path == top / LOCK or path.is_relative_to(folder):
            text = _STALE if finding.word == "stale" else finding.message
            yield Finding(finding.word, near(path), text, finding.line)
    yield from malformed(directory)


def _locked_folder(folder: Path) -> Path:
    for above in (folder, *folder.parents):
        if (above / LOCK).is_file():
            return above
    return folder


def malformed(directory: str) -> Iterator[Finding]:
    """Yield the files below `directory` that are called like cassettes and are none."""
    for path in cassettes_at(directory).values():
        try:
            read_cassette(path)
        except MalformedError as error:
            yield Finding("malformed", path, f"is no cassette: {error}")
        except OSError as error:
            yield Finding("malformed", path, f"cannot be read: {error.strerror}")


def leaks(
    directory: str, allowed: frozenset[str] = frozenset()
) -> Iterator[Leak | Unsearched]:
    """Yield the secrets in the cassettes of `directory`, but for those `allowed`.

    And those in the names of all that is there: the lock has them.
    """
    for found in _all_leaks(directory):
        if isinstance(found, Unsearched) or found.digest not in allowed:
            yield found


def _all_leaks(directory: str) -> Iterator[Leak | Unsearched]:
    names = NameSearch()
    for entry in entries([directory]):
        yield from names.results(entry.path)
    for path in cassettes_at(directory).values():
        yield from FileSearch(path).results()
