"""Decode compressed bodies, bounded: what was sent may be made to grow without end."""

import zlib
from collections.abc import Callable
from typing import Any, Protocol, cast

MAX_BODY = 64 << 20
"""How many bytes a body may have once it is decoded."""
_MAX_CODINGS = 4


class DecodingError(Exception):
    """A body is not what its Content-Encoding says, or cannot be decoded here."""


def codings_of(values: list[str]) -> list[str]:
    """Return the content codings in the header's `values`, in order of their use."""
    names = [one.strip().lower() for value in values for one in value.split(",")]
    return [one for one in names if one not in {"", "identity"}]


def decoded(data: bytes, codings: list[str]) -> bytes:
    """Return `data` without its `codings`; raises DecodingError.

    Some clients hand over what they have decoded already, with the header as it was: so
    what does not decode, and is text, is taken as it is.
    """
    if len(codings) > _MAX_CODINGS:
        raise DecodingError(f"it has {len(codings)} encodings")
    for coding in reversed(codings):
        try:
            data = _DECODERS.get(coding, _unknown)(data)
        except (zlib.error, EOFError, ValueError, LookupError) as error:
            if is_text(data):
                continue
            if isinstance(error, LookupError):
                why = f"its encoding is {coding!r}, which cannot be decoded here"
                raise DecodingError(why) from error
            raise DecodingError(f"it is no valid {coding}") from error
    return data


def _unknown(_: bytes) -> bytes:
    raise LookupError


def is_text(data: bytes) -> bool:
    """Tell whether `data` is text as HTTP has it: UTF-8 without most controls."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return not any(control in text for control in "\0\1\2\3\4\5\6\7\b\x0e\x0f")


def _gzip(data: bytes) -> bytes:
    whole = b""
    while data:  # RFC 1952: any number of members
        part, data = _inflated(data, 31, MAX_BODY - len(whole))
        whole += part
        data = data.lstrip(b"\0")
    return whole


# RFC 9110 says zlib's form, and some servers send the bare one (RFC 1951).
def _deflate(data: bytes) -> bytes:
    try:
        whole, rest = _inflated(data, 15, MAX_BODY)
    except zlib.error:
        whole, rest = _inflated(data, -15, MAX_BODY)
    if rest:
        raise zlib.error("something follows")
    return whole


def _inflated(data: bytes, form: int, limit: int) -> tuple[bytes, bytes]:
    inflate = zlib.decompressobj(form)
    whole = inflate.decompress(data, limit + 1)
    if len(whole) > limit:
        raise DecodingError(f"it unpacks to more than {MAX_BODY} bytes")
    if not inflate.eof:
        raise EOFError
    return whole, inflate.unused_data


class _Brotli(Protocol):
    def process(self, data: bytes, /) -> bytes: ...

    def is_finished(self) -> bool: ...


# The packages Brotli and brotlicffi, of which there may be neither, have one interface.
# In small pieces, so that what they unpack to is known before it is too much.
def _brotli(data: bytes) -> bytes:
    decoder = _new_brotli()
    parts: list[bytes] = []
    size = 0
    for at in range(0, len(data), 64):
        try:
            parts.append(decoder.process(data[at : at + 64]))
        except Exception as error:
            raise ValueError("no Brotli") from error  # each has an error of its own
        size += len(parts[-1])
        if size > MAX_BODY:
            raise DecodingError(f"it unpacks to more than {MAX_BODY} bytes")
    if not decoder.is_finished():
        raise EOFError
    return b"".join(parts)


def _new_brotli() -> _Brotli:
    try:
        import brotli as found  # noqa: PLC0415 # pyright: ignore[reportMissingImports]
    except ImportError:
        try:
            import brotlicffi as found  # noqa: PLC0415 # pyright: ignore[reportMissingImports]
        except ImportError:
            raise LookupError from None
    return cast("_Brotli", cast("Any", found).Decompressor())


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
}
