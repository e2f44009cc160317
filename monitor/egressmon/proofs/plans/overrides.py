"""Change a plan from the command line: `--set phase.idle.idle=5s`."""

import difflib
import tomllib
from datetime import date, time
from typing import Any, cast

from egressmon.errors import UsageError
from egressmon.sanitise.redaction import redact, scan_text

_HOW = "write --set PATH=VALUE, such as --set phase.NAME.idle=5s"

_TABLES_OF_TEXTS = frozenset({"env", "headers"})
_TEXTS = frozenset({"body", "cwd", "file", "log", "pattern", "policy"})
_LISTS = frozenset({"process", "phase", "probe"})


def override(table: dict[str, Any], text: str) -> None:
    """Set in the plan's `table` what `text`, PATH=VALUE, says; raises UsageError.

    An entry of a list is called by its name. Whether the plan may have the last key
    of PATH, and its value, is found out when the plan is checked.
    """
    path, equals, value = text.partition("=")
    _refuse_secrets(text)
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(f"--set {text}: no PATH=VALUE", _HOW)
    at: object = table
    for place, key in enumerate(keys[:-1]):
        at = _step(at, key, ".".join(keys[: place + 1]), text)
    if not isinstance(at, dict):
        what = ".".join(keys[:-1])
        raise UsageError(f"--set {text}: {what} has no keys", _HOW)
    cast("dict[str, Any]", at)[keys[-1]] = _value(keys, value.strip())


# Its text is in the summary of the proof, and in the messages of this module.
def _refuse_secrets(text: str) -> None:
    path, _, value = text.partition("=")
    last = path.rpartition(".")[2]
    # By itself, too: some secrets are known only by what is before them.
    looks = (text, value, f"{last} = {value}", f'{last} = "{value}"')
    for finding in (one for look in looks for one in scan_text(look)):
        raise UsageError(
            f"--set {redact(path)[0]}: a secret ({finding.kind}), and what is set is "
            "a part of the proof",
            "have it in a variable of the environment, which processes inherit",
        )


def _step(at: object, key: str, path: str, text: str) -> object:
    if isinstance(at, dict):
        missing: object = [] if key in _LISTS else {}
        return cast("dict[str, object]", at).setdefault(key, missing)
    entries = cast("list[object]", at) if isinstance(at, list) else []
    tables = [cast("dict[str, Any]", one) for one in entries if isinstance(one, dict)]
    named: dict[object, object] = {one.get("name"): one for one in tables}
    if key in named:
        return named[key]
    if key.isdecimal() and int(key) < len(entries):
        return entries[int(key)]
    names = [str(one) for one in named if one is not None]
    close = difflib.get_close_matches(key, names, 1)
    meant = f"{close[0]} is meant? " if close else ""
    raise UsageError(
        f"--set {text}: the plan has no {path}",
        f"{meant}known: {', '.join(names) or 'none'}",
    )


# As TOML reads it; what it cannot read is a text without quotes: 5s. So is a number
# where only a text can be: env.PORT=8001.
def _value(keys: list[str], text: str) -> object:
    try:
        found: object = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text
    is_text = keys[-1] in _TEXTS or (len(keys) > 1 and keys[-2] in _TABLES_OF_TEXTS)
    if is_text and isinstance(found, bool | int | float | date | time):
        return text
    return found
