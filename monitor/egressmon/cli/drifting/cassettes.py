"""`egressmon cassettes lock`, `verify` and `drift`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from egressmon.cassettes.drift import Change, drift
from egressmon.cassettes.pins import leaks, lock_cassettes, malformed, verify_cassettes
from egressmon.cassettes.settings import LOCK, near, read_settings
from egressmon.errors import UsageError
from egressmon.locking import Finding
from egressmon.reports.findings.drifts import drift_report
from egressmon.reports.findings.leaks import described, where
from egressmon.sanitise.paths import shown_path
from egressmon.scan.allowed import read_allowed
from egressmon.scan.search import Unsearched
from egressmon.text import printable, unguarded


def lock(directories: list[str]) -> int:
    """Lock each directory that is clean, and return the exit status."""
    return max(lock_one(directory) for directory in folders(directories))


def lock_one(directory: str) -> int:
    """Lock `directory` if it is clean, and return the exit status."""
    if status := examine(directory):
        _print(f"{_shown(directory)}: not locked")
        return status
    files = lock_cassettes(directory).files
    _print(f"{_shown(str(Path(directory, LOCK)))}: {len(files)} files locked")
    return 0


def examine(directory: str) -> int:
    """Print the secrets, and what is no cassette; return the exit status."""
    return max(_print_leaks(directory), _print_all(malformed(directory)))


def verify(directories: list[str]) -> int:
    """Compare each directory with its lock, and return the exit status."""
    return max(_verify(directory) for directory in folders(directories))


def _verify(directory: str) -> int:
    try:
        status = _print_all(verify_cassettes(directory))
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be read: {error.strerror}", "see who may read it"
        ) from error
    if not status:
        _print(f"{_shown(directory)}: as locked")
    return status


def compare(old: str, new: str, form: str) -> int:
    """Print how the cassettes at `new` differ from `old`; return the exit status."""
    for path in (old, new):
        if not Path(path).exists():
            raise UsageError(f"{path} is not there", "name two files or two folders")
    if Path(old).is_dir() != Path(new).is_dir():
        raise UsageError(
            f"{old} and {new} are a file and a folder", "name two files or two folders"
        )
    folder = new if Path(new).is_dir() else str(Path(new).parent)
    report = drift_report(form, folder, sys.stdout, unguarded(sys.stdout))
    status = 0
    for found in drift(old, new):
        if isinstance(found, Change):
            report.change(found)
            status = max(status, 1)
        else:
            status = 2
            report.unreadable(found)
    report.end()
    return status


def folders(directories: list[str]) -> list[str]:
    """Return `directories`, or those of the project; raises UsageError."""
    for directory in directories:
        if not Path(directory).is_dir():
            raise UsageError(f"{directory} is no folder", "name a folder of cassettes")
    found = directories or [near(one) for one in read_settings(Path.cwd()).folders()]
    if not found:
        raise UsageError(
            "there is no folder called cassettes here",
            "name it, or set `directories` in [tool.egressmon-cassettes]",
        )
    return found


def _print_leaks(directory: str) -> int:
    status = 0
    for found in leaks(directory, frozenset(read_allowed(None))):
        if isinstance(found, Unsearched):
            reason = printable(found.reason)
            _print(f"{where(found.path, found.line)}: not searched: {reason}")
            status = 2
        else:
            place = where(found.path, found.line, found.column)
            _print(f"{place}: {described(found)}: *** (digest {found.digest})")
            status = max(status, 1)
    return status


def _print_all(findings: Iterable[Finding]) -> int:
    status = 0
    for found in findings:
        text = printable(found.message, 500)
        place = where(shown_path(found.path), found.line)
        _print(f"{place}: {found.word}: {text}")
        status = 1
    return status


def _shown(path: str) -> str:
    return where(shown_path(path), None)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
