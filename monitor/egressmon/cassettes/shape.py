"""The shape of an answer's body: which places its JSON has, and the types there."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple, cast

from egressmon.cassettes.bounds import MAX_VALUES
from egressmon.cassettes.encodings import DecodingError, codings_of, decoded, is_text
from egressmon.cassettes.headers import values_of
from egressmon.cassettes.loading import Interaction

_MAX_PLACES = 100_000
_MAX_PLACES_SIZE = 32 << 20
"""Of the names of all places: each has those of what it is in."""
_TOO_DEEP = "it is nested too deeply"
_NONE = object()
_BLANKS = b" \t\r\n\x1e"
_NAMES: dict[type[object], str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    type(None): "null",
}


class Shape(NamedTuple):
    """A body's form, and for JSON the types at each place (`$.choices[].index`)."""

    form: str
    """empty, json, events (several texts of JSON), text, binary or undecodable."""
    types: dict[str, str]


class UncomparableError(Exception):
    """Nobody can tell which shape a body has; the message says why."""


def shape_of(one: Interaction) -> Shape:
    """Return the shape of the answer's body; raises UncomparableError."""
    try:
        data = decoded(one.body, codings_of(values_of(one.headers, "content-encoding")))
    except DecodingError:
        return Shape("undecodable", {})
    if not data:
        return Shape("empty", {})
    if not is_text(data):
        return Shape("binary", {})
    value = _parsed(data)
    if value is not _NONE:
        return Shape("json", _types("$", [value]))
    return _of_events(data)


def below_empty(place: str, one: Shape, other: Shape) -> bool:
    """Tell whether `place` is in a list that is empty in one of the two."""
    parts = place.split("[]")
    for count in range(1, len(parts)):
        items = "[]".join(parts[:count]) + "[]"
        if any(items[:-2] in x.types and items not in x.types for x in (one, other)):
            return True
    return False


# text/event-stream, or one value a line (NDJSON, or a sequence of RFC 7464).
def _of_events(data: bytes) -> Shape:
    values: list[object] = []
    for line in data.split(b"\n"):
        text = line.strip(_BLANKS).removeprefix(b"data:").strip()
        if text[:1] not in {b"{", b"["}:
            continue  # [DONE] is none, but is tried
        if (value := _parsed(text)) is not _NONE:
            if len(values) >= MAX_VALUES:
                raise UncomparableError(f"it has more than {MAX_VALUES} values")
            values.append(value)
    if values:
        return Shape("events", {"$": "array", **_types("$[]", values)})
    return Shape("text", {})


# The value that `text` is, or _NONE. What is too much for us may well be JSON.
def _parsed(text: bytes) -> object:
    if sum(map(text.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise UncomparableError(f"it has more than {MAX_VALUES} values")
    try:
        # int() refuses thousands of digits, and which number it is does not matter.
        return json.loads(text, parse_int=float)
    except ValueError:
        return _NONE
    except RecursionError:
        raise UncomparableError(_TOO_DEEP) from None


def _types(root: str, values: list[object]) -> dict[str, str]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    size = 0
    try:
        for value in values:
            for place, kind in _walk(root, value):
                size += 0 if place in found else len(place)
                found[place].add(kind)
                if len(found) > _MAX_PLACES or size > _MAX_PLACES_SIZE:
                    raise UncomparableError("it has too many places")
    except RecursionError:
        raise UncomparableError(_TOO_DEEP) from None
    return {place: " or ".join(sorted(kinds)) for place, kinds in found.items()}


def _walk(place: str, value: object) -> Iterator[tuple[str, str]]:
    yield place, _NAMES[type(value)]
    if isinstance(value, dict):
        for name, one in cast("dict[str, object]", value).items():
            yield from _walk(f"{place}.{name}", one)
    elif isinstance(value, list):
        for one in cast("list[object]", value):
            yield from _walk(f"{place}[]", one)
