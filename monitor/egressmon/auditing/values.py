"""Records as the stages of a run make them, from those that were read back.

What is given must have been checked against its class (verifying/shapes.py), and have
what it refers to in its place (reading/values.py).
"""

import dataclasses
import types
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from egressmon.evidence import gate
from egressmon.evidence.code_records import ModuleRecord, StackRecord, StackReference
from egressmon.evidence.records import Actor, Step
from egressmon.text import unescape

Json = dict[str, Any]
_Value = TypeVar("_Value")
_KNOWN: dict[type, dict[str, Any]] = {}
"""The types of the fields of each class that was asked for."""
# What a process is whose record is not there: nothing is known but its number.
_UNKNOWN: Json = {"ppid": None, "uid": 0, "exe": None, "argv": None, "ancestry": []}
# A field that each of these has only if what it refers to was found.
_HAS: dict[type, str] = {
    ModuleRecord: "caller", StackReference: "frames", Step: "system"
}  # fmt: skip


def value_of(kind: type[_Value], found: Json) -> _Value:
    """Return the value of the class `kind` that was written as `found`.

    Its texts are no longer escaped. Fields that are not in `found` have their defaults.
    """
    if kind is StackReference:
        return cast("_Value", _stack(found))
    if kind is Actor:
        found = _UNKNOWN | found
    hints = _hints(kind)
    given = {name: _made(hints[name], found[name]) for name in hints if name in found}
    return kind(**given)


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _KNOWN:
        hints = get_type_hints(kind)
        _KNOWN[kind] = {name: hints[name] for name in gate.names(kind)}
    return _KNOWN[kind]


def _stack(found: Json) -> StackReference:
    record = value_of(StackRecord, found)
    return StackReference(found["digest"], record)


def _made(hint: Any, value: Any) -> Any:
    if isinstance(value, str):
        return unescape(value)
    if isinstance(value, list):
        return _listed(hint, cast("list[object]", value))
    if not isinstance(value, dict):
        return value
    found = cast("Json", value)
    kind = _class_in(hint)
    if kind is None:
        return {unescape(name): _made(None, one) for name, one in found.items()}
    return value_of(kind, found) if _HAS.get(kind, "") in {"", *found} else None


def _listed(hint: Any, values: list[object]) -> Any:
    if get_origin(hint) in {Union, types.UnionType}:
        hint = next(one for one in get_args(hint) if get_origin(one) in {list, tuple})
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        return tuple(values)  # of numbers
    return [_made(arguments[0], one) for one in values]


# The class of values among the types that a field may have.
def _class_in(hint: Any) -> type[Any] | None:
    options = get_args(hint) if get_origin(hint) is not dict else ()
    return next(
        (
            one
            for one in (hint, *options)
            if isinstance(one, type) and dataclasses.is_dataclass(one)
        ),
        None,
    )
