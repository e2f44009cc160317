"""Check records against their types, which are those of the classes of records.

The JSON Schema says the same; this is some fifty times as fast as a validator of such.
The fields of most records have types that an earlier one had: that is one look-up.
"""

import dataclasses
import types
from collections.abc import Callable
from functools import cache
from typing import (
    Any,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from egressmon.evidence import gate
from egressmon.evidence.records import WRITTEN_AS, Record

ENVELOPE = ("schema", "type", "seq", "time", "run", "phase", "prev")
VERDICTS = frozenset({"allowed", "violation", "local", "recorded"})
Complaint: TypeAlias = str | None
"""What is wrong with a value, beginning with the name of the field; None: nothing."""
_Check: TypeAlias = Callable[[Any], Complaint]
_MAX_SHAPES = 4096
_NONE = type(None)
_NAMES: dict[Any, str] = {
    str: "a text", int: "a number", bool: "a truth", list: "a list"
}  # fmt: skip
_PLAIN = (str, int, bool, _NONE)


class Shape:
    """The fields of a class of values: their names in order, and their types."""

    def __init__(self, kind: type, *, is_record: bool = False) -> None:
        """`is_record`: the envelope's fields come first, and `cut` may come last."""
        hints = get_type_hints(kind)
        own = gate.names(kind)
        self._names = (*ENVELOPE, *own) if is_record else own
        self._more = frozenset({"cut"} if is_record else ())
        self._optional = _with_default(kind)
        self._deep: list[tuple[str, _Check]] = []
        self._plain: dict[str, frozenset[type]] = {}
        for name in own:
            self._add(name, hints[name])
        self._known: set[tuple[tuple[str, ...], tuple[type, ...]]] = set()
        """The names and types that were seen to be right, but for what is within."""

    def _add(self, name: str, hint: Any) -> None:
        plain, check = _split(hint)
        self._plain[name] = plain
        if check is not None:
            self._deep.append((name, check))

    def check(self, found: dict[str, Any]) -> Complaint:
        """Return what is wrong with `found`; None: nothing."""
        key = tuple(found), tuple(map(type, found.values()))
        if key not in self._known:
            if complaint := self._wrong_names(found) or self._wrong_types(found):
                return complaint
            if len(self._known) < _MAX_SHAPES:
                self._known.add(key)
        for name, check in self._deep:
            value = found.get(name)
            if value is not None and (complaint := check(value)):
                return f"`{name}`{complaint}"
        return None

    # A field that has a default came later: what was written before does not have it.
    def _wrong_names(self, found: dict[str, Any]) -> Complaint:
        for name in self._names:
            if name not in found and name not in self._optional:
                return f" has no `{name}`"
        known = {*self._names, *self._more}
        if unknown := [name for name in found if name not in known]:
            return f" has an unknown field `{unknown[0]}`"
        order = [name for name in (*self._names, *self._more) if name in found]
        return None if list(found) == order else " has its fields in another order"

    def _wrong_types(self, found: dict[str, Any]) -> Complaint:
        for name, allowed in self._plain.items():
            if name in found and type(found[name]) not in allowed:
                return f"`{name}` is {_shown(found[name])}"
        if "cut" in found and not _are_texts(found["cut"]):
            return "`cut` is no list of names"
        return None


def _with_default(kind: type) -> frozenset[str]:
    return frozenset(
        one.name
        for one in dataclasses.fields(kind)
        if one.default is not dataclasses.MISSING
        or one.default_factory is not dataclasses.MISSING
    )


def _are_texts(value: Any) -> bool:
    return type(value) is list and _are_all_texts(value)


def _are_all_texts(items: Any) -> bool:
    return all(type(one) is str for one in items)


def _shown(value: Any) -> str:
    return "null" if value is None else _NAMES.get(type(value), "no such value")


# The types that JSON may have there, and what to look at in a value besides its type.
def _split(hint: Any) -> tuple[frozenset[type], _Check | None]:  # noqa: PLR0911
    origin = get_origin(hint)
    if hint in _PLAIN:
        return frozenset({hint}), None
    if origin is Literal:
        return frozenset(map(type, get_args(hint))), _one_of(frozenset(get_args(hint)))
    if origin in {Union, types.UnionType}:
        return _either([_split(one) for one in get_args(hint)])
    if origin is list:
        return frozenset({list}), _each(_whole(get_args(hint)[0]))
    if origin is tuple:
        return frozenset({list}), _in_order([_whole(one) for one in get_args(hint)])
    if origin is dict:
        return frozenset({dict}), _by_name(_whole(get_args(hint)[1]))
    return frozenset({dict}), shape_of(WRITTEN_AS.get(hint, hint)).check


def _either(
    parts: list[tuple[frozenset[type], _Check | None]],
) -> tuple[frozenset[type], _Check | None]:
    checks = [check for _, check in parts if check is not None]
    if len(checks) > 1:
        raise TypeError("a field has two classes of values: say how to tell them apart")
    kinds = frozenset[type]().union(*(kinds for kinds, _ in parts))
    return kinds, checks[0] if checks else None


# A value together with its type.
def _whole(hint: Any) -> _Check:
    kinds, check = _split(hint)

    def whole(value: Any) -> Complaint:
        if type(value) not in kinds:
            return f" is {_shown(value)}"
        return check(value) if check is not None and value is not None else None

    return whole


def _one_of(values: frozenset[Any]) -> _Check:
    return lambda value: None if value in values else " is none of its words"


def _each(check: _Check) -> _Check:
    def each(value: Any) -> Complaint:
        for place, one in enumerate(value):
            if complaint := check(one):
                return f"[{place}]{complaint}"
        return None

    return each


def _in_order(checks: list[_Check]) -> _Check:
    def in_order(value: Any) -> Complaint:
        if len(value) != len(checks):
            return " is of another length"
        for one, check in zip(value, checks, strict=True):
            if complaint := check(one):
                return complaint
        return None

    return in_order


def _by_name(check: _Check) -> _Check:
    def by_name(value: Any) -> Complaint:
        for name, one in value.items():
            if complaint := check(one):
                return f".{name}{complaint}"
        return None

    return by_name


@cache
def shape_of(kind: type) -> Shape:
    """Return the shape of the class of values `kind`, as it is within a record."""
    return Shape(kind)


@cache
def shapes() -> dict[str, Shape]:
    """Return the shape of each kind of record, by its `type`."""
    return {one.TYPE: Shape(one, is_record=True) for one in get_args(Record)}
