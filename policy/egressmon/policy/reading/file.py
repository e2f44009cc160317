"""Find the policy file of a run, read it once, and check its digest."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from egressmon.policy.errors import PolicyError
from egressmon.policy.language.default import DEFAULT
from egressmon.policy.reading.place import (
    Candidate,
    Folder,
    PolicyFile,
    folders,
    read_in,
    read_named,
    trusted_owners,
)
from egressmon.values import dataclass

if TYPE_CHECKING:
    from egressmon.policy.language.model import AnyPolicy

FILE_NAME = "egress.toml"
PROJECT = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy, and the file that it was read from (None for the default policy)."""

    policy: "AnyPolicy"
    path: Path | None
    digest: str | None
    """`sha256:` and the hexadecimal digest of the file's bytes."""
    warning: str | None = None
    """Who besides the user could have written the file, if the user named it."""
    text: str = ""
    """The file's text, from the same read as the digest."""
    notes: tuple[str, ...] = ()
    """What the file says otherwise than it was taken, each with file and line."""

    @property
    def kind(self) -> Literal["file", "default", "learning"]:
        """Where it comes from; one of no file is the default, or `learn`'s own."""
        if self.path is not None:
            return "file"
        return "default" if self.policy is DEFAULT else "learning"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know of the file, though it is used."""
        return (*([self.warning] if self.warning else []), *self.notes)


def find_policy(
    start: Path, trusted: frozenset[int] | None = None
) -> PolicyFile | None:
    """Return the policy file nearest to `start`, upward: egress.toml or pyproject.toml.

    A pyproject.toml counts if it has the table `[tool.egressmon]`. Raises PolicyError
    if a folder has two policies, if a pyproject.toml cannot be read or parsed, and if
    the file could be written by others than `trusted` (default: root and the caller).
    """
    trusted = trusted_owners() if trusted is None else trusted
    for folder in folders(start, trusted):
        found = read_in(folder, FILE_NAME, trusted)
        project = _project_policy(folder, trusted)
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


# A file that cannot be parsed could hold the policy, under any spelling of the table's
# name and in any encoding: to skip it could mean to run without the policy.
def _project_policy(folder: Folder, trusted: frozenset[int]) -> Candidate | None:
    project = read_in(folder, PROJECT, trusted)
    if project is None:
        return None
    from egressmon.policy.reading import toml  # noqa: PLC0415 -- only where there is such a file

    try:
        data = toml.parse(project.path, toml.decode(project.path, project.data))
    except PolicyError as error:
        raise PolicyError(
            str(error),
            "it could hold the policy: correct it (TOML 1.0), or name the policy with "
            "--policy",
        ) from error
    tool = data.get("tool")
    return project if isinstance(tool, dict) and "egressmon" in tool else None


# The keys that lead to the policy's table in the file.
def _prefix(path: Path) -> tuple[str, ...]:
    return ("tool", "egressmon") if path.name == PROJECT else ()


def load_policy(
    source: Path | PolicyFile | None, digest: str | None = None
) -> LoadedPolicy:
    """Return the policy in `source`, or the default one for None.

    A Path is a file that the user named; a PolicyFile was found. Raises PolicyError,
    also if `digest` (`sha256:` and hexadecimal digits) is not the file's.
    """
    if source is None:
        _compare_digest(None, digest)
        return LoadedPolicy(DEFAULT, None, None)
    if isinstance(source, Path):
        source = read_named(source, trusted_owners())
    path = source.path
    found = "sha256:" + hashlib.sha256(source.data).hexdigest()
    _compare_digest((path, found), digest)
    # table imports pydantic, which is a third of all that a run imports.
    from egressmon.policy.reading import table, toml  # noqa: PLC0415 -- only for a file

    text = toml.decode(path, source.data)
    policy, notes = table.parse(path, text, _prefix(path))
    return LoadedPolicy(policy, path, found, source.warning, text, notes)


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
