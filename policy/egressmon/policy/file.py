"""Find and read policy files; every error names the file, the line and the remedy."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from egressmon.policy.errors import PolicyError
from egressmon.policy.model import (
    DEFAULT,
    Accept,
    Allow,
    By,
    Command,
    Dns,
    Local,
    Policy,
)
from egressmon.policy.place import (
    Candidate,
    PolicyFile,
    folders,
    read_in,
    read_named,
    trusted_owners,
)

FILE_NAME = "egress.toml"
PROJECT = "pyproject.toml"
_PYPROJECT = ("tool", "egressmon")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"""\s*(?P<key>[\w-]+|"[^"]*"|'[^']*')\s*(?:\.|=)""")
_REMEDIES = {
    "extra_forbidden": "unknown key; {known}",
    "missing": "missing; add `{key} = …`",
    "too_short": "an empty list allows nothing; name at least one",
}
_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    (): Policy,
    ("allow",): Allow,
    ("allow", "by"): By,
    ("dns",): Dns,
    ("local",): Local,
    ("accept",): Accept,
    ("command",): Command,
}


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy with where it came from."""

    policy: Policy
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
        if project is not None and not _has_table(project, alone=found is None):
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


def _has_table(project: Candidate, *, alone: bool) -> bool:
    try:
        data = tomllib.loads(project.data.decode("utf-8"))
    except ValueError:
        # Not to be passed over if it means to be the policy: that would be none.
        return alone and b"tool.egressmon" in project.data
    tool = data.get("tool", {})
    return isinstance(tool, dict) and "egressmon" in tool


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
    text = _decode(path, source.data)
    table = _parse(path, text)
    prefix: tuple[str, ...] = ()
    if path.name == PROJECT:
        prefix = _PYPROJECT
        table = table.get("tool", {}).get("egressmon", {})
    try:
        policy = Policy.model_validate(table)
    except ValidationError as error:
        raise _explained(path, text, prefix, error) from error
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


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(
            f"{path}:{line}: not UTF-8 text", "save the file as UTF-8"
        ) from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found.group(1)) if found else text.count("\n") + 1
        what = re.sub(r" \(at .*\)", "", str(error))
        raise PolicyError(
            f"{path}:{line}: not TOML: {what}", "see docs/policy.md for the format"
        ) from error
    except RecursionError as error:
        raise PolicyError(
            f"{path}: not TOML that can be read: nested too deeply",
            "see docs/policy.md for the format",
        ) from error


def _explained(
    path: Path, text: str, prefix: tuple[str, ...], error: ValidationError
) -> PolicyError:
    problems = error.errors(include_url=False)
    lines = [_problem(text, prefix, problem) for problem in problems]
    first_line, first, hint = lines[0]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    rest = "".join(f"\n  {path}:{line}: {what}" for line, what, _ in lines[1:])
    return PolicyError(f"{path}:{first_line}: {first}{more}{rest}", hint)


# One pydantic error as (line, what is wrong, remedy).
def _problem(
    text: str, prefix: tuple[str, ...], problem: Mapping[str, Any]
) -> tuple[int, str, str]:
    kind, location = str(problem["type"]), tuple(problem["loc"])
    # pydantic puts the tried member of a union into the location; drop it. The key that
    # nobody knows may be anything.
    last = location[-1:] if kind == "extra_forbidden" else ()
    location = tuple(
        part
        for part in location[: len(location) - len(last)]
        if isinstance(part, int) or _is_key(part)
    )
    location += last
    keys = tuple(part for part in location if isinstance(part, str))
    shown = _dotted(location)
    known = _known(keys[:-1])
    line = line_of(text, (*prefix, *location))
    if kind == "extra_forbidden" and keys[-1] in {"unix", "infrastructure"}:
        return line, f"{shown}: not supported by this version", "remove it for now"
    if kind in _REMEDIES:
        key = keys[-1] if keys else ""
        remedy = _REMEDIES[kind].format(known=f"known: {known}", key=key)
        return line, f"{shown}: {remedy.partition(';')[0]}", remedy
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem.get("input") == "block" and keys == ("enforce",):
        return line, "enforce: block is not supported yet", 'write enforce = "fail"'
    where = f"{shown}: " if shown else ""
    return line, where + message, "see docs/policy.md for the format"


def _known(table: tuple[str, ...]) -> str:
    model = _TABLES.get(table)
    if model is None:
        return "see docs/policy.md"
    fields = model.model_fields.items()
    return ", ".join(field.alias or name for name, field in fields)


def _is_key(part: object) -> bool:
    return (
        isinstance(part, str)
        and re.fullmatch(r"[\w-]+", part) is not None
        and (part not in {"tuple", "constrained-str"})
    )


def _dotted(location: tuple[str | int, ...]) -> str:
    shown = ""
    for part in location:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += f".{part}" if _is_key(part) else f".{json.dumps(part)}"
    return shown.removeprefix(".")


def line_of(text: str, location: tuple[str | int, ...]) -> int:
    """Return the line (from 1) of a key in TOML text, or of its nearest table."""
    best_line, best_depth = 1, 0
    table: tuple[str | int, ...] = ()
    seen: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.fullmatch(line)
        key = _KEY.match(line)
        if header:
            names = tuple(part.strip(" \"'") for part in header.group(2).split("."))
            table = names
            if header.group(1) == "[[":
                seen[names] = seen.get(names, -1) + 1
                table = (*names, seen[names])
            here = table
        elif key:
            here = (*table, key.group("key").strip("\"'"))
        else:
            continue
        depth = _common(here, location)
        if depth > best_depth:
            best_line, best_depth = number, depth
    return best_line


def _common(here: tuple[str | int, ...], location: tuple[str | int, ...]) -> int:
    depth = 0
    for ours, theirs in zip(here, location, strict=False):
        if ours != theirs:
            break
        depth += 1
    return depth if depth in {len(here), len(location)} else 0


def schema() -> dict[str, Any]:
    """Return the policy file's JSON Schema, for editors."""
    described = Policy.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "egress.schema.json",
        **described,
        "title": "egressmon policy",
    }
