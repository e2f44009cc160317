"""How numbers and lists are worded in reports."""

from collections.abc import Iterable

_MAX_LISTED = 2


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return `count` with the noun `one`, or with `many` (default: with an s)."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(texts: Iterable[str], most: int = _MAX_LISTED) -> str:
    """Return the first `most` different texts that are not empty, and how many more."""
    once = list(dict.fromkeys(text for text in texts if text))
    shown = ", ".join(once[:most])
    rest = len(once) - most
    return f"{shown} (and {rest} more)" if rest > 0 else shown
