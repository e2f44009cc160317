"""How numbers and lists are worded in reports."""

from collections.abc import Iterable, Mapping

_MAX_LISTED = 2
_MAX_COUNTED = 8


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return `count` with the noun `one`, or with `many` (default: with an s)."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(texts: Iterable[str], most: int = _MAX_LISTED) -> str:
    """Return the first `most` different texts that are not empty, and how many more."""
    once = list(dict.fromkeys(text for text in texts if text))
    shown = ", ".join(once[:most])
    rest = len(once) - most
    return f"{shown} (and {rest} more)" if rest > 0 else shown


def counted(counts: Mapping[str, int], most: int = _MAX_COUNTED) -> str:
    """Return the `most` names with the most, each with its count, and how many more."""
    names = sorted(counts, key=lambda name: (-counts[name], name))
    shown = ", ".join(f"{name} {counts[name]}" for name in names[:most])
    rest = len(names) - most
    return f"{shown} (and {rest} more)" if rest > 0 else shown
