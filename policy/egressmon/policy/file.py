"""Find and read policy files; every error names the file, the line and the remedy."""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from egressmon.policy.errors import PolicyError
from egressmon.policy.model import DEFAULT, Policy

FILE_NAME = "egress.toml"
_MAX_BYTES = 1 << 20
_PYPROJECT = ("tool", "egressmon")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"""\s*(?P<key>[\w-]+|"[^"]*"|'[^']*')\s*(?:\.|=)""")
_REMEDIES = {
    "extra_forbidden": "unknown key; {known}",
    "missing": "missing; add `{key} = …`",
    "too_short": "an empty list allows nothing; name at least one",
}
_KNOWN: dict[tuple[str, ...], str] = {
    (): "version, enforce, bypass, allow, dns, local",
    ("allow",): "host, cidr, ports, protocol, reason, by",
    ("allow", "by"): "package, exe, module, route, claimed",
    ("dns",): "resolvers, queries, names",
    ("local",): "listeners",
}


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy with where it came from."""

    policy: Policy
    path: Path | None
    digest: str | None
    """`sha256:` and the hexadecimal digest of the file's bytes."""


def find_policy(start: Path) -> Path | None:
    """Return the policy file nearest to start, upward: egress.toml or pyproject.toml.

    A pyproject.toml counts only with a table `[tool.egressmon]`.
    """
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
        project = folder / "pyproject.toml"
        if project.is_file() and _has_table(project):
            return project
    return None


def _has_table(path: Path) -> bool:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return "egressmon" in data.get("tool", {})


def load_policy(path: Path | None) -> LoadedPolicy:
    """Return the policy in path, or the default one for None; raises PolicyError."""
    if path is None:
        return LoadedPolicy(DEFAULT, None, None)
    data = _read(path)
    text = _decode(path, data)
    table = _parse(path, text)
    prefix: tuple[str, ...] = ()
    if path.name == "pyproject.toml":
        prefix = _PYPROJECT
        table = table.get("tool", {}).get("egressmon", {})
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    try:
        return LoadedPolicy(Policy.model_validate(table), path, digest)
    except ValidationError as error:
        raise _explained(path, text, prefix, error) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(
            f"{path}: {error.strerror}", "name a readable file with --policy"
        ) from error
    if len(data) > _MAX_BYTES:
        raise PolicyError(f"{path}: larger than 1 MiB", "name a policy file")
    return data


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
    # pydantic puts the tried member of a union into the location; drop it.
    location = tuple(
        part for part in problem["loc"] if isinstance(part, int) or _is_key(part)
    )
    keys = tuple(part for part in location if isinstance(part, str))
    shown = _dotted(location)
    known = _KNOWN.get(keys[:-1], "see docs/policy.md")
    kind = str(problem["type"])
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


def _is_key(part: object) -> bool:
    return (
        isinstance(part, str)
        and re.fullmatch(r"[\w-]+", part) is not None
        and (part not in {"tuple", "constrained-str"})
    )


def _dotted(location: tuple[str | int, ...]) -> str:
    shown = ""
    for part in location:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}"
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
