"""Find and read policy files: which one holds, and by which digest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from egressmon.policy.default import DEFAULT
from egressmon.policy.errors import PolicyError
from egressmon.policy.place import (
    Candidate,
    PolicyFile,
    folders,
    read_in,
    read_named,
    trusted_owners,
)

if TYPE_CHECKING:
    from egressmon.policy.model import AnyPolicy

FILE_NAME = "egress.toml"
PROJECT = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy with where it came from."""

    policy: "AnyPolicy"
    path: Path | None
    digest: str | None
    """`sha256:` and the hexadecimal digest of the file's bytes."""
    warning: str | None = None
    """Who else could have written the file that the user named."""
    text: str = ""
    """The file's text, as it was read once."""


def find_policy(
    start: Path, trusted: frozenset[int] | None = None
) -> PolicyFile | None:
    """Return the policy file nearest to `start`, upward: egress.toml or pyproject.toml.

    A pyproject.toml counts only with a table `[tool.egressmon]`. Raises PolicyError
    for two in one folder, and for one that others than `trusted` could have written
    (None: than root and the user).
    """
    trusted = trusted_owners() if trusted is None else trusted
    for folder in folders(start, trusted):
        found = read_in(folder, FILE_NAME, trusted)
        project = read_in(folder, PROJECT, trusted)
        if project is not None and not _is_policy(project, alone=found is None):
            project = None
        if found is not None and project is not None:
            raise PolicyError(
                f"{folder.path}: two policies: {FILE_NAME}, and [tool.egressmon] in "
                f"{PROJECT}",
                "keep one of them, or name one with --policy",
            )
        candidate = found or project
        if candidate is not None:
            return _trusted(candidate)
    return None


def _trusted(candidate: Candidate) -> PolicyFile:
    if candidate.problem is not None:
        raise PolicyError(
            f"{candidate.path}: not used: {candidate.problem}",
            "mend that, or name the policy with --policy",
        )
    return PolicyFile(candidate.path, candidate.data)


# What is not TOML is not to be passed over if it means to be the policy and no other
# file is there: that would be none.
def _is_policy(project: Candidate, *, alone: bool) -> bool:
    import tomllib  # noqa: PLC0415 -- only where there is such a file

    try:
        data = tomllib.loads(project.data.decode("utf-8"))
    except (ValueError, RecursionError):
        return alone and b"tool.egressmon" in project.data
    tool = data.get("tool", {})
    return isinstance(tool, dict) and "egressmon" in tool


# In a pyproject.toml, the table that is the policy.
def _prefix(path: Path) -> tuple[str, ...]:
    return ("tool", "egressmon") if path.name == PROJECT else ()


def load_policy(
    source: Path | PolicyFile | None, digest: str | None = None
) -> LoadedPolicy:
    """Return the policy in `source`, or the default one for None.

    A path is one that the user named. Raises PolicyError, also for a file of another
    `digest` than the one given (`sha256:` and hexadecimal).
    """
    if source is None:
        _compare_digest(None, digest)
        return LoadedPolicy(DEFAULT, None, None)
    if isinstance(source, Path):
        source = read_named(source, trusted_owners())
    path = source.path
    found = "sha256:" + hashlib.sha256(source.data).hexdigest()
    _compare_digest((path, found), digest)
    # pydantic, on which it rests, is a third of what a run would import.
    from egressmon.policy import table  # noqa: PLC0415 -- only for a file

    text = table.decode(path, source.data)
    policy = table.parse(path, text, _prefix(path))
    return LoadedPolicy(policy, path, found, source.warning, text)


def _compare_digest(found: tuple[Path, str] | None, wanted: str | None) -> None:
    if wanted is None:
        return
    if found is None:
        raise PolicyError(
            "no policy file was found, and --policy-digest names one",
            "run in the project's folder, or name the file with --policy",
        )
    path, digest = found
    if digest != wanted:
        raise PolicyError(
            f"{path}: its digest is {digest}, not {wanted}",
            "review the file; `egressmon policy check` prints the digest to give",
        )
