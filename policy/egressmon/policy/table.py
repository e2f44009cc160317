"""Turn a policy file's text into a Policy; errors name file, line and remedy."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from egressmon.policy import toml
from egressmon.policy.errors import PolicyError
from egressmon.policy.host_bits import host_bits
from egressmon.policy.model import (
    Accept,
    Allow,
    By,
    Command,
    Deny,
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
    "model_type": "a table is expected; write [[{table}]] and below it "
    'host = "example.org"',
    "tuple_type": "a list is expected; write {key} = [ … ]",
}
_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    (): Policy,
    ("allow",): Allow,
    ("allow", "by"): By,
    ("deny",): Deny,
    ("dns",): Dns,
    ("local",): Local,
    ("accept",): Accept,
    ("command",): Command,
}


def parse(
    path: Path, text: str, prefix: tuple[str, ...]
) -> tuple[Policy, tuple[str, ...]]:
    """Return the policy in `text`, the content of `path`, and notes on it.

    `prefix` has the keys that lead to the policy's table in the file. Raises
    PolicyError.
    """
    table = _inside(toml.parse(path, text), prefix)
    try:
        policy = Policy.model_validate(table)
    except ValidationError as error:
        raise _explained(path, text, prefix, error) from error
    notes = (
        f"{path}:{line_of(text, (*prefix, *at))}: {note}"
        for at, note in host_bits(table, policy)
    )
    return policy, tuple(notes)


# Returns the table under the keys `prefix`, or an empty one if there is none.
def _inside(table: dict[str, Any], prefix: tuple[str, ...]) -> dict[str, Any]:
    for key in prefix:
        inner = table.get(key)
        table = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    return table


def _explained(
    path: Path, text: str, prefix: tuple[str, ...], error: ValidationError
) -> PolicyError:
    problems = error.errors(include_url=False)
    lines = [_problem(text, prefix, problem) for problem in problems]
    first_line, first, hint = lines[0]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    rest = "".join(f"\n  {path}:{line}: {what}" for line, what, _ in lines[1:])
    return PolicyError(f"{path}:{first_line}: {first}{more}{rest}", hint)


# Returns one of pydantic's errors as (line, what is wrong, remedy).
def _problem(
    text: str, prefix: tuple[str, ...], problem: Mapping[str, Any]
) -> tuple[int, str, str]:
    kind, location = str(problem["type"]), _location(problem)
    keys = tuple(part for part in location if isinstance(part, str))
    shown = _dotted(location)
    known = _known(keys[:-1])
    line = line_of(text, (*prefix, *location))
    if kind == "extra_forbidden" and keys[-1] in {"unix", "infrastructure"}:
        return line, f"{shown}: not supported by this version", "remove it for now"
    if kind in _REMEDIES:
        key = keys[-1] if keys else ""
        remedy = _REMEDIES[kind].format(
            known=f"known: {known}", key=key, table=".".join((*prefix, *keys))
        )
        return line, f"{shown}: {remedy.partition(';')[0]}", remedy
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem.get("input") == "block" and keys == ("enforce",):
        return line, "enforce: block is not supported yet", 'write enforce = "fail"'
    separator = "" if message.startswith("[") or not shown else ": "
    return line, shown + separator + message, "see docs/policy.md for the format"


# pydantic's location also names the member of a union that it tried: drop that. An
# unknown key, the last part, stays whatever it looks like.
def _location(problem: Mapping[str, Any]) -> tuple[str | int, ...]:
    location = tuple(problem["loc"])
    last = location[-1:] if problem["type"] == "extra_forbidden" else ()
    known = location[: len(location) - len(last)]
    return (
        *(part for part in known if isinstance(part, int) or _is_key(part)),
        *last,
    )


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
    """Return the line (from 1) of the key at `location` in TOML, or of its table."""
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
