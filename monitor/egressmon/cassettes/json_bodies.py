"""JSON for a cassette: the values of keys that mean secrets are masked."""

import json
from codecs import BOM_UTF8
from typing import TypeAlias, cast

from egressmon.cassettes.text import clean, is_secret
from egressmon.sanitise.counting import MASK

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_MOST_DIGITS = 4000
_RECORD = b"\x1e"  # begins each JSON text of a sequence (RFC 7464)
_TOO_DEEP = (
    b"egressmon: this body was not recorded: it is JSON that is nested too deeply"
)


def clean_json(data: bytes) -> bytes:
    """Return `data` without the values of keys that mean secrets.

    It is `data` itself, in its own form, if nothing in it is masked, or it is no JSON.
    """
    if data.startswith(_RECORD):
        return _RECORD + clean_json(data[1:])
    if not may_be_json(data):
        return data
    try:
        value = cast("Json", json.loads(data, parse_int=_integer))
        shown = _masked(value, secret=False)
        if shown == value and not _has_doubles(data):
            return data
        return _written(shown)
    except RecursionError:
        return _TOO_DEEP
    except ValueError:
        return data


def may_be_json(data: bytes) -> bool:
    """Tell whether `data` begins as an object or a list does, behind any mark."""
    return data[:8].removeprefix(BOM_UTF8).lstrip()[:1] in {b"{", b"["} or (
        data.lstrip()[:1] in {b"{", b"["}
    )


# A lone surrogate can only be written as an escape.
def _written(value: Json) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


# int() refuses more digits, and with them the whole text.
def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= _MOST_DIGITS else 0


# json.loads() keeps the last of several members of one name.
def _has_doubles(data: bytes) -> bool:
    doubles: list[str] = []

    def members(pairs: list[tuple[str, object]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            doubles.append("")

    json.loads(data, object_pairs_hook=members, parse_int=_integer)
    return bool(doubles)


# A number stays one, so that who replays it can read it.
def _masked(value: Json, *, secret: bool) -> Json:
    if isinstance(value, dict):
        return {
            name: _masked(one, secret=secret or _is_secret(name, one, value))
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [
            _masked(one, secret=secret) if secret else _item(one, value)
            for one in value
        ]
    if isinstance(value, str):
        return _text_in_json(value, secret=secret)
    return 0 if secret and value is not None and not isinstance(value, bool) else value


# The arguments of a tool, a message in a queue: JSON in a text of JSON.
def _text_in_json(value: str, *, secret: bool) -> str:
    if secret:
        return value and MASK
    if value[:1] not in {"{", "["}:
        return value
    data = value.encode("utf-8", "surrogatepass")
    return clean_json(data).decode("utf-8", "surrogatepass")


# [["Authorization", "Bearer ..."], ...]: as services echo headers.
def _item(one: Json, beside: list[Json]) -> Json:
    if isinstance(one, list) and all(map(_is_pair, beside)):
        name, value = one
        return [name, _masked(value, secret=_is_secret(str(name), value, {}))]
    return _masked(one, secret=False)


def _is_pair(one: Json) -> bool:
    return isinstance(one, list) and len(one) == 2 and isinstance(one[0], str)


def _is_secret(name: str, value: Json, beside: dict[str, Json]) -> bool:
    if name == "token" and "logprob" in beside:  # a word, in answers of language models
        return False
    if name == "value" and isinstance(given := beside.get("name"), str):
        name = given  # {"name": "X-Api-Key", "value": ...}
    if isinstance(value, dict | list):
        # All below: {"credentials": {"user": ...}}. Not what is only about secrets:
        # {"tokens": [{"text": ...}]} are those of a language.
        return is_secret(name, "a value") and not name.lower().endswith("tokens")
    return value is not None and is_secret(name, str(value))


def still_json(before: bytes, after: bytes) -> bytes:
    """Return `after`, which was made of `before`; JSON, if that was JSON.

    A mask in the text of JSON has never broken it so far; if one did, each text is
    cleaned by itself.
    """
    if after == before or not may_be_json(before):
        return after
    try:
        value = cast("Json", json.loads(before))
    except (ValueError, RecursionError):
        return after
    try:
        json.loads(after)
    except (ValueError, RecursionError):
        return clean(json.dumps(_each_clean(value), ensure_ascii=False).encode())
    return after


def _each_clean(value: Json) -> Json:
    if isinstance(value, dict):
        return {clean(name): _each_clean(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_each_clean(one) for one in value]
    return clean(value) if isinstance(value, str) else value
