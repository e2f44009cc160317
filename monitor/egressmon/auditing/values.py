"""Records as the stages of a run make them, from those that were read back.

What is given must have been checked against its class (verifying/records/shapes.py),
and have what it refers to in its place (reading/values.py).
"""

import dataclasses
import types
from collections.abc import Callable
from typing import (
    Any,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from egressmon.evidence import gate
from egressmon.evidence.records.actors import Actor, Step
from egressmon.evidence.records.code import ModuleRecord, StackRecord, StackReference
from egressmon.text import unescape

Json = dict[str, Any]
_Value = TypeVar("_Value")
_Convert: TypeAlias = Callable[[Any], Any]
_KNOWN: dict[type, list[tuple[str, _Convert]]] = {}
"""How each field is made, for each class that was asked for."""
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
        record = value_of(StackRecord, found)
        return cast("_Value", StackReference(found["digest"], record))
    if kind is Actor:
        found = _UNKNOWN | found
    made = _KNOWN.get(kind) or _learn(kind)
    return kind(**{name: make(found[name]) for name, make in made if name in found})


def _learn(kind: type) -> list[tuple[str, _Convert]]:
    hints = get_type_hints(kind)
    made = [(name, _converter(hints[name])) for name in gate.names(kind)]
    _KNOWN[kind] = made
    return made


def _converter(hint: Any) -> _Convert:
    options = (hint,)
    if get_origin(hint) in {Union, types.UnionType}:
        options = get_args(hint)
    for one in options:
        if isinstance(one, type) and dataclasses.is_dataclass(one):
            return _of_class(one)
        if get_origin(one) is list:
            return _of_list(_converter(get_args(one)[0]))
        if get_origin(one) is tuple:
            return tuple  # of numbers
        if get_origin(one) is dict:
            return _table
    return _plain


def _plain(value: Any) -> Any:
    return unescape(value) if isinstance(value, str) else value


def _table(found: Json) -> Json:
    return {unescape(name): _plain(one) for name, one in found.items()}


def _of_list(convert: _Convert) -> _Convert:
    def made(values: list[Any] | None) -> list[Any] | None:
        return None if values is None else [convert(one) for one in values]

    return made


def _of_class(kind: type[Any]) -> _Convert:
    needed = _HAS.get(kind)

    def made(found: Json | None) -> Any:
        if found is None or (needed is not None and needed not in found):
            return None
        return value_of(kind, found)

    return made
