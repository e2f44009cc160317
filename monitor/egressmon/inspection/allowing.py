"""What a policy's `[native]` lets pass of what an inspection found."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Protocol, get_args

from egressmon.inspection.findings import Finding, Manager, Package

_MANAGERS = frozenset(get_args(Manager)) - {"none"}


class Entry(Protocol):
    """An entry of `native.allow` (policy/language/native.py)."""

    @property
    def package(self) -> str | None:
        """The package as NAME or MANAGER:NAME; None where a file is named."""
        ...

    @property
    def file(self) -> str | None:
        """The pattern of the file's path."""
        ...

    @property
    def version(self) -> tuple[str, ...]:
        """The patterns of versions; none for any."""
        ...

    @property
    def reason(self) -> str:
        """Why it is allowed."""
        ...


def allowing(entries: Sequence[Entry], finding: Finding) -> str | None:
    """Return the reason of the first entry that covers `finding`, or None.

    A file that is in no package is covered by its path alone, whatever folder it is in.
    """
    for entry in entries:
        if _covers(entry, finding):
            return entry.reason
    return None


def unused(entries: Sequence[Entry], findings: Sequence[Finding]) -> list[Entry]:
    """Return the entries that cover none of `findings`."""
    return [
        entry for entry in entries if not any(_covers(entry, one) for one in findings)
    ]


def _covers(entry: Entry, finding: Finding) -> bool:
    package = finding.package
    if entry.file is not None:
        return package.manager == "none" and fnmatchcase(finding.path, entry.file)
    if package.manager == "none" or entry.package is None:
        return False
    if not _names(entry.package, package):
        return False
    version = package.version or ""
    return not entry.version or any(fnmatchcase(version, one) for one in entry.version)


# Anybody can register a reviewed package's name with npm: those are said to be of it.
# Names of Python's distributions are compared as PyPI does (PEP 503).
def _names(wanted: str, package: Package) -> bool:
    manager, _, name = wanted.partition(":")
    if manager in _MANAGERS and name:
        if manager != package.manager:
            return False
        wanted = name
    elif package.manager == "npm":
        return False
    if package.manager == "python":
        return _plain(wanted) == _plain(package.name)
    return wanted == package.name


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
