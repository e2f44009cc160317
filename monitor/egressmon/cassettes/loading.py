"""Read a cassette that anybody may have written: bounded, and nothing but plain values.

YAML can hold objects, and aliases by which a few lines stand for gigabytes. Here only
texts, numbers, true, false, null, `!!binary`, lists and mappings are taken, to a depth
and in a number that no cassette has.
"""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, NamedTuple, cast

from egressmon.cassettes.bounds import MAX_DEPTH, MAX_VALUES, require_few
from egressmon.errors import UsageError
from egressmon.files.bounded import open_regular, read_from

ENDINGS = (".yaml", ".yml", ".json")
"""Of the names of cassettes."""
MAX_BYTES = 64 << 20
_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("binary", "str"))


class MalformedError(Exception):
    """A file is no cassette; says why."""


class Interaction(NamedTuple):
    """One request, and its answer."""

    method: str
    uri: str
    status: int
    headers: dict[str, Any]
    body: bytes


def read_cassette(path: str) -> list[Interaction]:
    """Return what the cassette at `path` holds.

    Raises MalformedError, and OSError if it cannot be read.
    """
    descriptor = open_regular(path)
    try:
        data = read_from(descriptor, MAX_BYTES)
    finally:
        os.close(descriptor)
    if data is None:
        raise MalformedError(f"it is larger than {MAX_BYTES} bytes")
    try:
        value = _of_json(data) if path.endswith(".json") else _of_yaml(data)
        return list(_interactions(value))
    except RecursionError as error:
        raise MalformedError("it is nested too deeply") from error
    except ValueError as error:
        raise MalformedError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _of_json(data: bytes) -> Any:
    if sum(map(data.count, (b"[", b"{", b","))) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    return json.loads(data.decode())


def _of_yaml(data: bytes) -> Any:
    try:
        import yaml  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise UsageError(
            "PyYAML is missing, which reads cassettes",
            "pip install 'egressmon[cassettes]' beside egressmon",
        ) from error
    try:
        _require_plain(yaml, data)
        value = yaml.load(data, Loader=_loader())  # noqa: S506 -- from CSafeLoader
    except yaml.YAMLError as error:
        raise MalformedError(_first_line(error)) from error
    require_few(value)
    return value


# The events are read one by one, so that nothing is built of what is refused.
def _require_plain(yaml: Any, data: bytes) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(data, Loader=_loader())):
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if count > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values")
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _TAGS:
            raise ValueError(f"it has {tag!r}, which is no plain value")


# YAML's own resolvers take 1:20 and 2001-01-01 for numbers and dates, and << for a
# merge, which copies: such texts stay texts here.
@cache
def _loader() -> Any:
    import yaml  # noqa: PLC0415 -- an extra

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    for name, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE|yes|no", list("tTfFyn")),
        ("int", r"[-+]?[0-9]{1,18}", list("-+0123456789")),
    ):
        tag = f"tag:yaml.org,2002:{name}"
        cast("Any", Loader).add_implicit_resolver(
            tag, re.compile(rf"(?:{pattern})\Z"), first
        )
    return Loader


def _interactions(value: object) -> Iterator[Interaction]:
    whole = _mapping(value) or {}
    found = whole.get("interactions")
    if not isinstance(found, list):
        raise MalformedError("it has no list of `interactions`")
    if whole.get("version", 1) != 1:
        raise MalformedError("it is of another version than 1")
    for number, one in enumerate(cast("list[object]", found), 1):
        try:
            yield _interaction(one)
        except (KeyError, TypeError, AttributeError) as error:
            why = f"interaction {number} is no request with an answer"
            raise MalformedError(f"{why}: {_first_line(error)}") from error


def _interaction(one: Any) -> Interaction:
    request, response = one["request"], one["response"]
    headers = _mapping(response.get("headers") or {})
    status = _mapping(response["status"])
    code = response["status"] if status is None else status["code"]
    if not isinstance(code, int) or headers is None:
        raise TypeError("its status is no number, or its headers are no mapping")
    return Interaction(
        _text(request["method"]), _text(request["uri"]), code, headers, _body(response)
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where a text should be")
    return value


def _mapping(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _body(response: Any) -> bytes:
    body = response.get("body", response.get("content"))
    if (parts := _mapping(body)) is not None:
        body = parts.get("string", parts.get("base64_string"))
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    return _text(body).encode("utf-8", "surrogatepass")
