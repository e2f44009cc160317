"""Bodies for a cassette: decoded, and without secrets."""

import re
from typing import NamedTuple

from egressmon.cassettes.addresses import clean_form
from egressmon.cassettes.encodings import DecodingError, decoded, is_text
from egressmon.cassettes.json_bodies import clean_json, still_json
from egressmon.cassettes.text import clean, is_secret, settled
from egressmon.sanitise.counting import MASK

_FORM = re.compile(r"[\w.%\[\]+*-]{1,256}=[^\s&]*(?:&[\w.%\[\]+*-]{1,256}=[^\s&]*)*")
_BOUNDARY = re.compile(r"boundary=\"?([^\";,\s]{1,70})", re.IGNORECASE)
_LONGEST_HEAD = 8192
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"[;\s]name\*?=(?:utf-8'')?\"?([^\";\r\n]*)", re.IGNORECASE)
# One event of a stream, one line of NDJSON, or one record of RFC 7464.
_LINE = re.compile(
    rb"(?P<before>[ \t]*(?:data:[ \t]*|\x1e)?)(?P<json>[{\[].*)", re.DOTALL
)
_ELEMENT = re.compile(
    r"(?P<start><(?:[\w.-]{1,64}:)?(?P<name>[\w.-]{1,128})(?:\s[^<>]{0,1024})?>)"
    r"(?P<value>[^<>]{1,8192})(?=</)"
)
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

    def cleaning(data: bytes) -> bytes:
        return _cleaned(data, content_type)

    return Body(settled(cleaning, plain, MASK.encode()), is_plain=bool(codings))


def _cleaned(data: bytes, content_type: str) -> bytes:
    kind = content_type.partition(";")[0].strip().lower()
    if is_text(data):  # whatever it is called: clients send JSON as forms
        data = clean_json(data)
    if found := _BOUNDARY.search(content_type):
        data = _without_fields(data, found[1].encode())
    elif is_text(data):
        data = _text(data, kind)
    return still_json(data, clean(data))


def _text(data: bytes, kind: str) -> bytes:
    is_form = kind == "application/x-www-form-urlencoded"
    if is_form or (not kind and _FORM.fullmatch(data.decode())):
        return clean_form(data.decode()).encode()
    if data.lstrip()[:1] == b"<":
        return _ELEMENT.sub(_element, data.decode()).encode()
    return b"\n".join(map(_line, data.split(b"\n")))


def _element(found: re.Match[str]) -> str:
    is_one = is_secret(found["name"], found["value"])
    return found["start"] + (MASK if is_one else found["value"])


def _line(line: bytes) -> bytes:
    found = _LINE.fullmatch(line)
    return line if found is None else found["before"] + clean_json(found["json"])


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
    return part[: head.end()] + clean_json(value) + end
