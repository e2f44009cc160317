"""Read a plan's file: one line says what is wrong with it, with file, line and hint."""

import difflib
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from egressmon.errors import UsageError
from egressmon.evidence.masking import is_masked
from egressmon.files.bounded import open_regular, read_from
from egressmon.policy.errors import PolicyError, RefusedError
from egressmon.policy.reading import toml
from egressmon.policy.reading.lines import line_of
from egressmon.proofs.plans.overrides import override
from egressmon.proofs.plans.plan import (
    Around,
    Expectation,
    Header,
    Limits,
    PhasePlan,
    Plan,
    Probe,
    ProcessPlan,
    Ready,
    Request,
    WaitLog,
    simple_plan,
)
from egressmon.sanitise.redaction import scan_text
from egressmon.values import dataclass

_MAX_PLAN = 1 << 20
_FORMAT = "docs/prove.md has the format"
_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    (): Plan,
    ("limits",): Limits,
    ("start",): Around,
    ("start", "expect"): Expectation,
    ("stop",): Around,
    ("stop", "expect"): Expectation,
    ("process",): ProcessPlan,
    ("process", "ready"): Ready,
    ("phase",): PhasePlan,
    ("phase", "request"): Request,
    ("phase", "request", "headers"): Header,
    ("phase", "wait_log"): WaitLog,
    ("phase", "expect"): Expectation,
    ("probe",): Probe,
}
_EXPECTED = {
    "bool_type": "neither true nor false",
    "string_type": "not a text in quotes",
    "int_type": "not a whole number",
    "list_type": "not a list",
    "dict_type": "not a table",
    "model_type": "not a table",
    "missing": "missing",
    "too_short": "empty",
}


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A plan, and the text that is kept in the proof."""

    plan: Plan
    text: str
    digest: str
    folder: Path
    """Relative paths are meant from here."""
    title: str
    overrides: tuple[str, ...] = ()


def load_plan(path: str, overrides: list[str]) -> LoadedPlan:
    """Return the plan in the file at `path`, with what `overrides` change in it.

    Raises UsageError.
    """
    data = _read(path)
    try:
        text = toml.decode(Path(path), data)
        table = toml.parse(Path(path), text)
    except PolicyError as error:
        raise UsageError(
            str(error), error.hint.replace("policy.md", "prove.md")
        ) from error
    for finding in scan_text(text):
        raise UsageError(
            f"{path}:{finding.line}: a secret ({finding.kind}), and the plan is a part "
            "of the proof",
            "have it in a variable of the environment, which processes inherit",
        )
    for one in overrides:
        override(table, one)
    plan = _validated(table, path, text)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    folder = Path(path).absolute().parent
    return LoadedPlan(plan, text, digest, folder, path, tuple(overrides))


def plan_of_command(command: list[str], overrides: list[str]) -> LoadedPlan:
    """Return the plan of one phase that runs `command`; raises UsageError."""
    table = simple_plan(command)
    text = (
        f'version = 1\n\n[[phase]]\nname = "command"\ncommand = {json.dumps(command)}\n'
    )
    if not _is_same(text, table):
        raise UsageError(
            "the command has characters that a plan cannot have",
            "run it from a script",
        )
    for finding in scan_text(text):
        raise UsageError(
            f"the command holds a secret ({finding.kind}), and the plan is a part of "
            "the proof",
            "have it in a variable of the environment, which the command inherits",
        )
    for one in overrides:
        override(table, one)
    plan = _validated(table, "the plan", text)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return LoadedPlan(plan, text, digest, Path.cwd(), "command", tuple(overrides))


def _is_same(text: str, table: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == table
    except ValueError:
        return False


def _read(path: str) -> bytes:
    try:
        descriptor = open_regular(path)
        with os.fdopen(descriptor, "rb", buffering=0):
            data = read_from(descriptor, _MAX_PLAN)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{path} cannot be read: {reason}",
            "egressmon prove PLAN.toml, or egressmon prove --runs 3 -- COMMAND",
        ) from error
    if data is None:
        raise UsageError(f"{path} is no plan: it has more than 1 MB", _FORMAT)
    return data


def _validated(table: dict[str, Any], path: str, text: str) -> Plan:
    try:
        return Plan.model_validate(table)
    except ValidationError as error:
        found = error.errors(include_url=False)
        what, hint = _said(found[0])
        place = _location(found[0])
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        line = line_of(text, place)
        at = _dotted(place, table)
        message = f"{path}:{line}: {at}{': ' if at else ''}{what}{more}"
        raise UsageError(message, hint) from error


def _said(problem: Mapping[str, Any]) -> tuple[str, str]:
    kind = str(problem["type"])
    refused = cast("dict[str, object]", problem.get("ctx", {})).get("error")
    if isinstance(refused, RefusedError):
        return refused.what, refused.hint
    keys = tuple(one for one in _location(problem) if isinstance(one, str))
    if kind == "extra_forbidden":
        return "unknown key", _known(keys)
    if kind == "literal_error":
        words = str(problem["ctx"]["expected"]).replace("'", '"')
        first = words.partition(" or ")[0].partition(",")[0]
        is_item = isinstance(_location(problem)[-1], int)
        written = first if is_item else f"{keys[-1]} = {first}"
        return f"not one of {words}", f"write {written}"
    return _EXPECTED.get(kind) or str(problem["msg"]), _remedy(keys)


def _known(keys: tuple[str, ...]) -> str:
    fields = _fields(keys[:-1])
    close = difflib.get_close_matches(keys[-1], fields, 1)
    meant = f"{close[0]} is meant? " if close else ""
    return f"{meant}known: {', '.join(fields)}"


def _remedy(keys: tuple[str, ...]) -> str:
    fields = _fields(keys[:-1]) if keys else {}
    field = fields.get(keys[-1]) if keys else None
    if field is None or not field.examples:
        return _FORMAT
    return f"write {keys[-1]} = {json.dumps(field.examples[0])}"


def _fields(table: tuple[str, ...]) -> dict[str, FieldInfo]:
    model = _TABLES.get(table)
    return dict(model.model_fields) if model is not None else {}


def _location(problem: Mapping[str, Any]) -> tuple[str | int, ...]:
    return tuple(problem["loc"])


# An entry of a list is called by its name, where it has one.
def _dotted(location: tuple[str | int, ...], table: object) -> str:
    shown = ""
    for part in location:
        table = _inside(table, part)
        if isinstance(part, int):
            named = _name_of(table)
            shown += f".{named}" if _is_shown(named) else f"[{part}]"
        else:
            shown += f".{part}"
    return shown.removeprefix(".")


def _is_shown(name: object) -> bool:
    return (
        isinstance(name, str)
        and re.fullmatch(r"[\w.-]+", name) is not None
        and not is_masked(name)
    )


def _inside(table: object, part: str | int) -> object:
    try:
        return table[part]  # type: ignore[index]
    except (TypeError, LookupError):
        return None


def _name_of(table: object) -> object:
    entry = cast("dict[str, Any]", table) if isinstance(table, dict) else {}
    return entry.get("name")
