"""Headers for a cassette: those with credentials are dropped, the others cleaned."""

from collections.abc import Iterable, Mapping
from typing import cast

from egressmon.cassettes.addresses import clean_address
from egressmon.cassettes.text import clean, is_secret
from egressmon.sanitise.catalog.surrounded import (
    API_KEY_HEADER,
    AUTHORIZATION,
    COOKIE,
    NAMED,
)
from egressmon.sanitise.redaction import redact

Headers = Mapping[str, object]

# Whatever they say. The catalog, asked for each header below, knows more.
_ALWAYS = frozenset(
    """authorization proxy-authorization cookie cookie2 set-cookie set-cookie2 x-api-key
    x-rapidapi-key x-honeycomb-team x-amz-credential authentication-info
    proxy-authentication-info x-forwarded-access-token""".split()
)
_ADDRESSES = frozenset("location content-location referer origin uri".split())
_BY_NAME = frozenset(
    kind.name for kind in (API_KEY_HEADER, AUTHORIZATION, COOKIE, NAMED)
)


def clean_headers(headers: Headers) -> dict[str, object]:
    """Return `headers` without credentials; each value keeps its type."""
    return {
        name: _each(name, value)
        for name, value in headers.items()
        if not _is_dropped(name, value)
    }


def plain(name: str | bytes) -> str:
    """Return the `name` of a header as text."""
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)


def values_of(headers: Headers, wanted: str) -> list[str]:
    """Return all values of the header `wanted`, in small letters for its name."""
    return [
        text
        for name, value in headers.items()
        if plain(name).lower() == wanted
        for text in _texts(value)
    ]


def without(headers: Headers, unwanted: str) -> dict[str, object]:
    """Return `headers` without the one of that name, in small letters."""
    return {
        name: value
        for name, value in headers.items()
        if plain(name).lower() != unwanted
    }


def with_length(headers: Headers, length: int) -> dict[str, object]:
    """Return `headers`; where they say how long the body is, that is `length`."""
    return {
        name: _length_like(value, length)
        if plain(name).lower() == "content-length"
        else value
        for name, value in headers.items()
    }


def _length_like(value: object, length: int) -> object:
    if isinstance(value, list | tuple):
        return [str(length)]
    return str(length).encode() if isinstance(value, bytes) else str(length)


def _is_dropped(name: str, value: object) -> bool:
    if plain(name).lower() in _ALWAYS:
        return True
    return any(_is_credential(plain(name), text) for text in _texts(value))


def _is_credential(name: str, text: str) -> bool:
    if is_secret(name, text):
        return True
    kinds = redact(f"{name}: {text}")[1].keys() - redact(text)[1].keys()
    return not _BY_NAME.isdisjoint(kinds)


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, list | tuple):
        for one in cast("list[object]", value):
            yield from _texts(one)
    elif isinstance(value, bytes):
        yield value.decode("latin-1")
    else:
        yield str(value)


def _each(name: str, value: object) -> object:
    if isinstance(value, list | tuple):
        return [_each(name, one) for one in cast("list[object]", value)]
    if isinstance(value, bytes):
        return clean(value)
    if not isinstance(value, str):
        return value
    return clean_address(value) if plain(name).lower() in _ADDRESSES else clean(value)
