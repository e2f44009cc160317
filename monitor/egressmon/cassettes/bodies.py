"""Bodies for a cassette: decoded, and without secrets."""

import json
import re
from typing import NamedTuple, TypeAlias, cast

from egressmon.cassettes.addresses import clean_pairs
from egressmon.cassettes.encodings import DecodingError, decoded, is_text
from egressmon.cassettes.text import clean, is_secret
from egressmon.sanitise.counting import MASK

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_FORM = re.compile(r"[\w.%\[\]+*-]{1,256}=[^\s&]*(?:&[\w.%\[\]+*-]{1,256}=[^\s&]*)*")
_BOUNDARY = re.compile(r"boundary=\"?([^\";,\s]{1,70})", re.IGNORECASE)
_LONGEST_HEAD = 8192
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"[;\s]name\*?=(?:utf-8'')?\"?([^\";\r\n]*)", re.IGNORECASE)
# One event of a stream, or one line of NDJSON.
_LINE = re.compile(rb"(?P<before>[ \t]*(?:data:[ \t]*)?)(?P<json>[{\[].*)", re.DOTALL)
_UNDECODED = "egressmon: this body was not recorded: "


class Body(NamedTuple):
    """A body as it is recorded."""

    data: bytes
    is_plain: bool
    """Whether it is without the encodings that its headers name."""


def clean_body(data: bytes, content_type: str, codings: list[str]) -> Body:
    """Return `data` decoded and without secrets.

    What cannot be decoded is replaced by a sentence that says so.
    """
    try:
        plain = decoded(data, codings)
    except DecodingError as error:
        return Body(f"{_UNDECODED}{error}".encode(), is_plain=True)
    return Body(_cleaned(plain, content_type), is_plain=bool(codings))


def _cleaned(data: bytes, content_type: str) -> bytes:
    kind = content_type.partition(";")[0].strip().lower()
    if found := _BOUNDARY.search(content_type):
        data = _without_fields(data, found[1].encode())
    elif is_text(data):
        data = _text(data, kind)
    return _still_json(data, clean(data))


def _text(data: bytes, kind: str) -> bytes:
    is_form = kind == "application/x-www-form-urlencoded"
    if is_form or (not kind and _FORM.fullmatch(data.decode())):
        return clean_pairs(data.decode()).encode()
    whole = _json(data)
    if whole is not data or kind.endswith("json") or b"\n" not in data:
        return whole
    return b"\n".join(map(_line, data.split(b"\n")))


def _line(line: bytes) -> bytes:
    found = _LINE.fullmatch(line)
    return line if found is None else found["before"] + _json(found["json"])


# Returns `data` itself if nothing in it is masked, or if it is no JSON: so that it
# keeps its form.
def _json(data: bytes) -> bytes:
    if data.lstrip()[:1] not in {b"{", b"["}:
        return data
    try:
        value = cast("Json", json.loads(data))
        shown = _masked(value, secret=False)
        if shown == value and not _has_doubles(data):
            return data
        return json.dumps(shown, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return data


# json.loads() keeps the last of several members of one name.
def _has_doubles(data: bytes) -> bool:
    doubles: list[str] = []

    def members(pairs: list[tuple[str, object]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            doubles.append("")

    json.loads(data, object_pairs_hook=members)
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
    return _json(data).decode("utf-8", "surrogatepass")


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


def _without_fields(data: bytes, boundary: bytes) -> bytes:
    parts = data.split(b"--" + boundary)
    return (b"--" + boundary).join(map(_field, parts))


def _field(part: bytes) -> bytes:
    head = _END_OF_HEAD.search(part, 0, _LONGEST_HEAD)
    if head is None:
        return part
    end = b"\r\n" if part.endswith(b"\r\n") else b""
    value = part[head.end() : len(part) - len(end)]
    found = _FIELD.search(part, 0, head.start())
    name = found[1].decode("utf-8", "replace") if found else ""
    if is_secret(name, value[:_LONGEST_HEAD].decode("utf-8", "replace")):
        return part[: head.end()] + MASK.encode() + end
    return part[: head.end()] + _json(value) + end


# A mask in the text of JSON has never broken it so far; if one did, each text is
# cleaned by itself.
def _still_json(before: bytes, after: bytes) -> bytes:
    if after == before or before.lstrip()[:1] not in {b"{", b"["}:
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
