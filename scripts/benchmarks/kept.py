"""Count what the stages keep: each large container, with its length and bytes."""

import gc
import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import cast

_LARGE = 64
_SKIPPED = (ModuleType, type, FunctionType, MethodType, BuiltinFunctionType)


def containers(root: object) -> Iterator[tuple[str, int, int]]:
    """Yield the place, length and bytes of each container, with all that it holds.

    Begins at `root`, then the globals of our modules. What two hold counts at the
    first; a container of fewer than 64 elements counts with what holds it.
    """
    seen: set[int] = set()
    roots = [("", root)]
    for name, module in sorted(sys.modules.items()):
        if name.startswith("egressmon."):
            roots += [
                (f"{name}.{key}", value)
                for key, value in vars(module).items()
                if _is_ours(value, name)
            ]
    for place, one in roots:
        yield from _below(place, one, seen)


def _is_ours(value: object, module: str) -> bool:
    if hasattr(value, "cache_info"):
        return getattr(value, "__module__", module) == module
    return isinstance(value, (dict, set, list))


def _below(place: str, root: object, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    waiting = [(place, root)]
    while waiting:
        name, one = waiting.pop(0)
        if id(one) in seen or isinstance(one, _SKIPPED):
            continue
        size = _length(one)
        if size >= _LARGE:
            yield name, size, _deep(one, seen)
            continue
        seen.add(id(one))
        waiting += _parts(name, one)


def _length(one: object) -> int:
    if hasattr(one, "cache_info"):
        return cast("int", one.cache_info().currsize)  # type: ignore[attr-defined]
    if not isinstance(one, (dict, set, list)):
        return 0
    return len(cast("set[object]", one))


def _parts(name: str, one: object) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    if isinstance(one, dict):
        items = cast("dict[object, object]", one).items()
        return [(f"{name}[{str(key)[:20]}]", value) for key, value in items]
    for kind in type(one).__mro__:
        slots = cast("tuple[str, ...]", getattr(kind, "__slots__", ()))
        found += [
            (f"{name}.{slot}", getattr(one, slot))
            for slot in slots
            if hasattr(one, slot)
        ]
    own = cast("dict[str, object]", getattr(one, "__dict__", {}))
    found += [(f"{name}.{key}", value) for key, value in own.items()]
    return found or [(f"{name}/", part) for part in gc.get_referents(one)]


def _deep(one: object, seen: set[int]) -> int:
    total, waiting = 0, [one]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, _SKIPPED):
            continue
        seen.add(id(part))
        total += sys.getsizeof(part)
        waiting += gc.get_referents(part)
    return total
