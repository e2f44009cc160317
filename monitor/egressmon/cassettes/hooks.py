"""The hooks for VCR: what it hands over, without secrets, and never changed itself."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar, cast

from egressmon.cassettes.addresses import clean_address
from egressmon.cassettes.bodies import clean_body
from egressmon.cassettes.encodings import codings_of
from egressmon.cassettes.headers import (
    Headers,
    clean_headers,
    values_of,
    with_length,
    without,
)
from egressmon.cassettes.text import clean


class Request(Protocol):
    """What these hooks need of `vcr.request.Request`."""

    method: Any
    uri: Any
    body: Any
    headers: Any


_Request = TypeVar("_Request", bound=Request)
_Hook = Callable[[Any], Any]


def before_record_request(request: _Request) -> _Request:
    """Return a copy of `request` without secrets."""
    headers = clean_headers(request.headers)
    data = _bytes_of(request.body)
    if data is not None:
        data, headers = _cleaned(data, request.headers, headers)
    kind = cast("Callable[..., _Request]", type(request))
    return kind(request.method, clean_address(str(request.uri)), data, headers)


def before_record_response(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `response` without secrets."""
    given = cast("Headers", response.get("headers") or {})
    headers = clean_headers(given)
    shown: dict[str, Any] = {}
    for name, value in response.items():
        if name == "body" and isinstance(value, Mapping):
            parts = cast("Mapping[str, object]", value)
            shown[name], headers = _clean_parts(parts, given, headers)
        elif name == "content" and isinstance(value, str | bytes):
            shown[name], headers = _like(value, given, headers)
        elif name == "url" and isinstance(value, str):
            shown[name] = clean_address(value)
        else:
            shown[name] = _clean_all(value)
    if "headers" in response:
        shown["headers"] = headers
    return shown


def vcr_config(**more: Any) -> dict[str, Any]:
    """Return the configuration for VCR, with `more` settings of your own.

    Hooks among these come first, so that whatever they add is cleaned, too.
    """
    hooks: dict[str, _Hook] = {
        "before_record_request": before_record_request,
        "before_record_response": before_record_response,
    }
    both = {name: (*_many(more.get(name)), ours) for name, ours in hooks.items()}
    return {**more, **both}


# VCR takes one, or several.
def _many(hooks: object) -> tuple[object, ...]:
    if hooks is None:
        return ()
    if isinstance(hooks, Iterable):
        return tuple(cast("Iterable[object]", hooks))
    return (hooks,)


def _bytes_of(body: object) -> bytes | None:
    """Return what VCR has as a body; it gives files and iterators anew each time."""
    if body is None:
        return None
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    if hasattr(body, "read"):
        return _bytes_of(cast("Any", body).read())
    if isinstance(body, Iterable):
        parts = [_bytes_of(part) or b"" for part in cast("Iterable[object]", body)]
        return b"".join(parts)
    return b"egressmon: this body was not recorded: it is no text and no bytes"


def _cleaned(
    data: bytes, given: Headers, headers: dict[str, object]
) -> tuple[bytes, dict[str, object]]:
    content_type = " ".join(values_of(given, "content-type"))
    codings = codings_of(values_of(given, "content-encoding"))
    body = clean_body(data, content_type, codings)
    if body.is_plain:
        headers = without(headers, "content-encoding")
    if body.data != data:
        headers = with_length(headers, len(body.data))
    return body.data, headers


def _like(
    value: str | bytes, given: Headers, headers: dict[str, object]
) -> tuple[str | bytes, dict[str, object]]:
    data, headers = _cleaned(_bytes_of(value) or b"", given, headers)
    return (
        data.decode("utf-8", "surrogatepass") if isinstance(value, str) else data
    ), headers


def _clean_parts(
    body: Mapping[str, object], given: Headers, headers: dict[str, object]
) -> tuple[dict[str, Any], dict[str, object]]:
    shown: dict[str, Any] = {}
    for name, value in body.items():
        if name == "string" and isinstance(value, str | bytes):
            shown[name], headers = _like(value, given, headers)
        else:
            shown[name] = _clean_all(value)
    return shown, headers


def _clean_all(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bytes):
        return clean(value)
    if isinstance(value, Mapping):
        parts = cast("Mapping[Any, Any]", value)  # type: ignore[redundant-cast]
        return {name: _clean_all(one) for name, one in parts.items()}
    if isinstance(value, list | tuple):
        return [_clean_all(one) for one in cast("list[Any]", value)]
    return copy.deepcopy(value)
