"""Check a policy file's text; every error names the file, the line and the remedy."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from egressmon.policy.errors import PolicyError
from egressmon.policy.model import (
    Accept,
    Allow,
    By,
    Command,
    Dns,
    Local,
    Policy,
)

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


def decode(path: Path, data: bytes) -> str:
    """Return the text of the file `path`; raises PolicyError where it is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(
            f"{path}:{line}: not UTF-8 text", "save the file as UTF-8"
        ) from error


def parse(path: Path, text: str, prefix: tuple[str, ...]) -> Policy:
    """Return the policy in `text`, which is the file `path`'s, in the table `prefix`.

    Raises PolicyError.
    """
    try:
        return Policy.model_validate(_inside(_parse(path, text), prefix))
    except ValidationError as error:
        raise _explained(path, text, prefix, error) from error


# The table that `prefix` leads to; an empty one where there is none.
def _inside(table: dict[str, Any], prefix: tuple[str, ...]) -> dict[str, Any]:
    for key in prefix:
        inner = table.get(key)
        table = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    return table


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # also of a number with thousands of digits
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
