"""Turn any record into one line of JSON that is safe to read.

The line is UTF-8 with only printable characters, its integers fit into every reader's
numbers, and each string, list and record is bounded. No record is refused: what is too
long is cut, and the line says so.
"""

import dataclasses
from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Any, cast

import orjson

from egressmon.text import escape

MAX_RECORD = 64 << 10
"""The size limit of a line of evidence, in bytes."""
MAX_BODY = 60 << 10
"""The same for the record alone, without the envelope and the list of cuts."""
MAX_TEXT = 4096
"""How many characters of a string, or items of a list, are kept at most."""
MAX_INTEGER = 2**53 - 1
"""Readers that use doubles read larger numbers wrongly (RFC 8259, section 6)."""
_LEAST_TEXT = 64  # characters: with this limit, every field of any record still fits
_MAX_CUTS = 16
_MAX_PATH = 120


class Fields(dict[str, Any]):
    """The fields of a record by name: each may be cut, but none is left out."""


def admit(value: object) -> tuple[bytes, list[str]]:
    """Return `value` as JSON, and the parts that were cut, such as `argv[3]`."""
    try:
        line = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    except TypeError:  # a lone surrogate, or an integer that is too large
        return _admit_slowly(value)
    # The fast way, for most records: short, so no part is too long, and nothing in it
    # has to be escaped. orjson escapes with a backslash what JSON may not hold raw; if
    # all backslashes precede quotation marks, they escape nothing else.
    if (
        len(line) <= MAX_TEXT
        and line.count(b"\\") == line.count(b'\\"')
        and line.decode().isprintable()
    ):
        return line, []
    return _admit_slowly(value)


def _admit_slowly(value: object) -> tuple[bytes, list[str]]:
    limit = MAX_TEXT
    while True:
        walk = _Walk(limit)
        line = orjson.dumps(walk.plain(value, ""))
        if len(line) <= MAX_BODY or limit == 1:
            return line, walk.cuts
        limit //= 4


class _Walk:
    """Rebuilds a value from JSON's types, with no string or list over `limit`."""

    def __init__(self, limit: int) -> None:
        self.cuts: list[str] = []
        self._limit = limit
        self._text_limit = max(limit, _LEAST_TEXT)

    def plain(self, value: Any, path: str) -> Any:  # noqa: PLR0911 -- one for each type
        if isinstance(value, str):
            return self._text(value, path)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self._integer(value, path)
        if isinstance(value, list | tuple):
            return self._items(cast("Sequence[Any]", value), path)
        if isinstance(value, Fields):
            return {name: self.plain(one, name) for name, one in value.items()}
        if isinstance(value, dict):
            return self._entries(cast("dict[object, Any]", value), path)
        if dataclasses.is_dataclass(value):
            kind: type = type(value)
            return {
                name: self.plain(
                    getattr(value, name), f"{path}.{name}" if path else name
                )
                for name in names(kind)
            }
        return self._text(str(value), path)

    def _text(self, text: str, path: str) -> str:
        if len(text) > self._text_limit:
            self._cut(path)
            return escape(text[: self._text_limit]) + "…"
        return escape(text)

    def _integer(self, value: int, path: str) -> int:
        if abs(value) <= MAX_INTEGER:
            return int(value)
        self._cut(path)
        return MAX_INTEGER if value > 0 else -MAX_INTEGER

    def _items(self, items: Sequence[Any], path: str) -> list[Any]:
        if len(items) > self._limit:
            self._cut(path)
        return [
            self.plain(item, f"{path}[{index}]")
            for index, item in enumerate(items[: self._limit])
        ]

    def _entries(self, entries: dict[object, Any], path: str) -> dict[str, Any]:
        if len(entries) > self._limit:
            self._cut(path)
        found: dict[str, Any] = {}
        for name, item in islice(entries.items(), self._limit):
            key = self._text(str(name), path)
            found[key] = self.plain(item, f"{path}.{key}" if path else key)
        return found

    def _cut(self, path: str) -> None:
        if len(self.cuts) < _MAX_CUTS and path not in self.cuts:
            self.cuts.append(path[:_MAX_PATH])


@cache
def names(kind: type) -> tuple[str, ...]:
    """Return which fields of a class of values are written, in their order.

    Those that begin with an underscore are not: orjson leaves them out, too.
    """
    fields = dataclasses.fields(kind)
    return tuple(one.name for one in fields if not one.name.startswith("_"))
