"""The shape of an answer's body: which places its JSON has, and the types there."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, cast

from egressmon.cassettes.bounds import MAX_VALUES
from egressmon.cassettes.encodings import DecodingError, codings_of, decoded, is_text
from egressmon.cassettes.headers import values_of
from egressmon.cassettes.loading import Interaction

_MAX_PLACES = 10_000
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
    """empty, json, events (server-sent ones of JSON), text, binary or undecodable."""
    types: dict[str, str]


def shape_of(one: Interaction) -> Shape:
    """Return the shape of the answer's body."""
    try:
        data = decoded(one.body, codings_of(values_of(one.headers, "content-encoding")))
    except DecodingError:
        return Shape("undecodable", {})
    if not data:
        return Shape("empty", {})
    if not is_text(data):
        return Shape("binary", {})
    try:
        return Shape("json", _types("$", [_parsed(data)]))
    except (ValueError, RecursionError):
        return _of_events(data)


def below_empty(place: str, one: Shape, other: Shape) -> bool:
    """Tell whether `place` is in a list that is empty in one of the two."""
    parts = place.split("[]")
    for count in range(1, len(parts)):
        items = "[]".join(parts[:count]) + "[]"
        if any(items[:-2] in x.types and items not in x.types for x in (one, other)):
            return True
    return False


# text/event-stream, or one value a line (NDJSON).
def _of_events(data: bytes) -> Shape:
    lines = (line.strip() for line in data.split(b"\n"))
    texts = [line.removeprefix(b"data:").strip() for line in lines]
    values: list[object] = []
    for text in texts:
        if text[:1] in {b"{", b"["} and len(values) < MAX_VALUES:
            with suppress(ValueError, RecursionError):  # [DONE] is none
                values.append(_parsed(text))
    if values:
        with suppress(ValueError, RecursionError):
            return Shape("events", {"$": "array", **_types("$[]", values)})
    return Shape("text", {})


def _parsed(text: bytes) -> object:
    if sum(map(text.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise ValueError("too many values")
    return json.loads(text)


def _types(root: str, values: list[object]) -> dict[str, str]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for value in values:
        for place, kind in _walk(root, value):
            found[place].add(kind)
            if len(found) > _MAX_PLACES:
                raise ValueError("too many places")
    return {place: " or ".join(sorted(kinds)) for place, kinds in found.items()}


def _walk(place: str, value: object) -> Iterator[tuple[str, str]]:
    yield place, _NAMES[type(value)]
    if isinstance(value, dict):
        for name, one in cast("dict[str, object]", value).items():
            yield from _walk(f"{place}.{name}", one)
    elif isinstance(value, list):
        for one in cast("list[object]", value):
            yield from _walk(f"{place}[]", one)
