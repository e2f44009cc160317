"""`egressmon inspect`: which native code could open connections by itself."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from egressmon.errors import UsageError
from egressmon.inspection.allowing import Entry, allowing, unused
from egressmon.inspection.inspection import inspect
from egressmon.inspection.targets import environment
from egressmon.policy.reading.file import load_policy
from egressmon.reports.findings.native import Inspected, Judged, write
from egressmon.startup.environment import original, variables
from egressmon.text import printable


class InspectRequest(NamedTuple):
    """What `egressmon inspect` is asked."""

    paths: list[str]
    """Folders and files; none: an environment of Python's."""
    python: str | None
    """Its interpreter, or folder; None: the active one, or that of egressmon."""
    policy: str | None
    form: Literal["table", "json", "import-linter"]
    roots: list[str]
    """The packages that the contract is for."""


def inspect_native(request: InspectRequest) -> int:
    """Inspect what `request` names, print what is found, and return the status."""
    _require_roots(request)
    # First: with a policy that cannot be read, nothing is to be waited for.
    entries = _entries(request.policy)
    folders = list(request.paths)
    if request.python is not None or not folders:
        folders += [one.folder for one in environment(request.python or _active())]
    result = inspect(folders)
    judged = tuple(Judged(one, allowing(entries, one)) for one in result.findings)
    found = Inspected(tuple(folders), judged, result, request.policy is not None)
    write(request.form, found, request.roots, sys.stdout)
    for entry in unused(entries, result.findings):
        name = printable(entry.package or entry.file)
        sys.stderr.write(f"egressmon: inspect: allowed, but not found: {name}\n")
    if result.unread:
        return 2
    return int(request.policy is not None and bool(found.open))


# The virtual environment that is active in the caller's shell, or the one that runs.
def _active() -> str:
    found = variables(original()).get(b"VIRTUAL_ENV")
    return os.fsdecode(found) if found else sys.prefix


def _entries(policy: str | None) -> Sequence[Entry]:
    if policy is None:
        return ()
    loaded = load_policy(Path(policy))
    for remark in loaded.remarks:
        sys.stderr.write(f"egressmon: policy: {printable(remark)}\n")
    return loaded.policy.native.allow


def _require_roots(request: InspectRequest) -> None:
    if request.form == "import-linter" and not request.roots:
        raise UsageError(
            "a contract is for a package, and none is named",
            "add --root-package NAME, of a package of your own",
        )
    for name in request.roots:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(
                f"{printable(name)}: not the name of a package",
                "write it as in an import statement",
            )
