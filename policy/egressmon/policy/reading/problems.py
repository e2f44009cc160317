"""Say what is wrong with a policy file: its line, what stands there, what to write."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from egressmon.policy.errors import PolicyError, RefusedError
from egressmon.policy.language.drift import Drift
from egressmon.policy.language.model import (
    Accept,
    Allow,
    By,
    Command,
    Deny,
    Dns,
    Guard,
    Layers,
    Local,
    Origins,
    Policy,
)
from egressmon.policy.language.native import Native, NativeCode
from egressmon.policy.reading.lines import line_of

_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    (): Policy,
    ("allow",): Allow,
    ("allow", "by"): By,
    ("deny",): Deny,
    ("dns",): Dns,
    ("local",): Local,
    ("accept",): Accept,
    ("command",): Command,
    ("origins",): Origins,
    ("guard",): Guard,
    ("layers",): Layers,
    ("drift",): Drift,
    ("native",): Native,
    ("native", "allow"): NativeCode,
}
_TABLES_OF_ENTRIES = {"allow", "deny"}
_EXPECTED = {
    "bool_type": "neither true nor false",
    "int_type": "no whole number",
    "greater_than_equal": "too small",
    "less_than_equal": "too large",
    "string_type": "not a text in quotes",
    "string_too_short": "an empty text",
    "tuple_type": "not a list",
    "model_type": "not a table",
    "missing": "missing",
    "extra_forbidden": "unknown key",
}
_NOT_YET = {"unix", "infrastructure"}
_FORMAT = "see docs/policy.md for the format"
_MAX_SHOWN = 20  # each is looked for in the file


class _Problem(NamedTuple):
    line: int
    what: str
    hint: str


def explained(
    path: Path, text: str, prefix: tuple[str, ...], error: ValidationError
) -> PolicyError:
    """Return what pydantic's `error` says of the file at `path`, as people need it.

    `text` is the file's; `prefix` has the keys that lead to the policy's table in it.
    """
    found = error.errors(include_url=False)
    first, *others = [_problem(text, prefix, one) for one in found[:_MAX_SHOWN]]
    more = f" (and {len(found) - 1} more)" if others else ""
    rest = "".join(f"\n  {path}:{one.line}: {one.what}; {one.hint}" for one in others)
    if len(found) > _MAX_SHOWN:
        rest += f"\n  {len(found) - _MAX_SHOWN} more are not shown"
    return PolicyError(f"{path}:{first.line}: {first.what}{more}{rest}", first.hint)


def _problem(
    text: str, prefix: tuple[str, ...], problem: Mapping[str, Any]
) -> _Problem:
    location = _location(problem)
    keys = tuple(part for part in location if isinstance(part, str))
    what, hint = _said(problem, prefix, keys)
    shown = _dotted(location)
    separator = "" if what.startswith("[") or not shown else ": "
    line = line_of(text, (*prefix, *location))
    return _Problem(line, f"{shown}{separator}{what}", hint)


# What is wrong with the value of the last of `keys`, and what to write.
def _said(
    problem: Mapping[str, Any], prefix: tuple[str, ...], keys: tuple[str, ...]
) -> tuple[str, str]:
    kind = str(problem["type"])
    refused = cast("dict[str, object]", problem.get("ctx", {})).get("error")
    if isinstance(refused, RefusedError):
        return refused.what, refused.hint
    if kind == "literal_error":
        return _other_word(problem, keys)
    if kind == "extra_forbidden" and keys[-1] in _NOT_YET:
        return "not supported by this version", "remove it for now"
    if kind == "extra_forbidden":
        return _EXPECTED[kind], f"known: {_known(keys[:-1])}"
    what = _EXPECTED.get(kind) or str(problem["msg"])
    return what, _remedy(prefix, keys)


def _other_word(problem: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, str]:
    if problem["input"] == "block" and keys == ("enforce",):
        return "block is not supported yet", 'write enforce = "fail"'
    words = str(problem["ctx"]["expected"]).replace("'", '"')
    *others, last = words.replace(" or ", ", ").split(", ")
    place: tuple[int | str, ...] = problem["loc"]
    written = words if isinstance(place[-1], int) else f"{keys[-1]} = {words}"
    return f"none of {', '.join(others)} and {last}", f"write {written}"


def _remedy(prefix: tuple[str, ...], keys: tuple[str, ...]) -> str:
    if not keys:
        return _FORMAT
    model, key = _TABLES.get(keys), keys[-1]
    if model is None:
        example = _example(_TABLES.get(keys[:-1]), key)
        return f"write {example}" if example else _FORMAT
    first = _example(model, next(iter(_fields(model))))
    if key not in _TABLES_OF_ENTRIES and len(keys) > 1:
        return f"write {key} = {{ {first} }}"
    name = ".".join((*prefix, *keys))
    header = f"[[{name}]]" if key in _TABLES_OF_ENTRIES else f"[{name}]"
    return f"write {header} and below it {first}"


# Such as `queries = "allowlist"`; an empty text if there is no such key.
def _example(model: type[BaseModel] | None, key: str) -> str:
    field = _fields(model).get(key) if model is not None else None
    if field is None:
        return ""
    if field.annotation is bool:
        return f"{key} = true or {key} = false"
    value = field.examples[0] if field.examples else field.default
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    fields = model.model_fields.items()
    return {field.alias or name: field for name, field in fields}


def _known(table: tuple[str, ...]) -> str:
    model = _TABLES.get(table)
    return ", ".join(_fields(model)) if model is not None else "docs/policy.md says"


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
