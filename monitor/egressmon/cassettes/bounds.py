"""How much a parsed value may hold: aliases let a small text stand for a huge value."""

from collections.abc import Iterable
from typing import cast

MAX_DEPTH = 64
MAX_VALUES = 2_000_000
_UNDER_WAY = -1


def require_few(value: object) -> None:
    """Raise ValueError if `value`, written out, has too many values, or no end."""
    _size(value, {}, 0)


# What several places refer to is measured once, and counted at each.
def _size(value: object, known: dict[int, int], depth: int) -> int:
    inner: Iterable[object]
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value)
        inner = [*pairs.keys(), *pairs.values()]
    elif isinstance(value, list):
        inner = cast("list[object]", value)
    else:
        return 1
    key = id(cast("object", value))
    size = known.get(key)
    if size == _UNDER_WAY:
        raise ValueError("it contains itself")
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if size is None:
        known[key] = _UNDER_WAY
        size = 1 + sum(_size(one, known, depth + 1) for one in inner)
        known[key] = size
    if size > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    return size
