"""Read a file of any size through windows that overlap, in bounded memory.

A window ends where no run of base64's characters is under way, so that what is encoded
is seen whole; where there is no such place, it grows, up to a limit.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

from egressmon.sanitise.searching.layers import GZIP

CHUNK = 1 << 20
LARGEST = 16 << 20
"""How large a window gets for what is encoded in one piece."""
_OVERLAP = 64 << 10
_CONTEXT = 8 << 10
_SEARCHED = 4 << 10
# What is inside no encoded text: other characters than it has, and short words. Lines,
# what stands around them in code, mail and comments, and escapes may be inside.
_BREAK = re.compile(
    rb"[^\w+/=\\\s\"'`>#*;|.,&-]|[\"'`>#*;|.,&]{17}"
    rb"|(?<=[\s,;.])[A-Za-z0-9]\w{0,14}[\s,;.]"
)
_LEAST_UNPACKED, _MAX_GROWTH = 64 << 20, 100


class _Inflate(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


Read = Callable[[int], bytes]
"""Returns up to so many bytes, none at the end. May raise OSError."""


class ExpandsTooFarError(Exception):
    """A compressed file unpacks to more than it is allowed to."""


class Window(NamedTuple):
    """A part of a file: its secrets begin from `first` to before `end`."""

    data: bytes
    offset: int
    """Where it begins in the file."""
    first: int
    end: int
    is_cut: bool
    """Whether it ends within a run of characters that is too long for a window."""


class Windows:
    """The windows of what `read` returns."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._data = b""
        self._is_last = False
        self._again = False
        self._error: Exception | None = None

    def may_be_larger(self) -> bool:
        """Have the same window come again, with more behind it; False if it cannot."""
        self._again = not self._is_last and len(self._data) < LARGEST
        return self._again

    def __iter__(self) -> Iterator[Window]:
        """Yield each window; what cannot be read to its end is raised behind them."""
        offset = first = 0
        while True:
            end = self._grown(first)
            is_cut = end < 0
            if is_cut:
                end = len(self._data) - _OVERLAP
            yield Window(self._data, offset, first, end, is_cut)
            if self._again:
                self._again = False
            elif self._is_last:
                if self._error is not None:
                    raise self._error
                return
            else:
                kept = max(0, end - _CONTEXT)
                self._data, first = self._data[kept:], end - kept
                offset += kept

    def _grown(self, first: int) -> int:
        end = -1
        while end < 0:
            self._fill(len(self._data) + CHUNK)
            end = len(self._data) if self._is_last else _place(self._data, first)
            if len(self._data) >= LARGEST:
                break
        return end

    def _fill(self, size: int) -> None:
        parts, missing = [self._data], size - len(self._data)
        try:
            while missing > 0 and (part := self._read(missing)):
                parts.append(part)
                missing -= len(part)
        except (EOFError, OSError, zlib.error, ExpandsTooFarError) as error:
            self._error, missing = error, max(1, missing)
        self._is_last = missing > 0
        self._data = b"".join(parts)


# Where the next window may begin: behind the last character before the overlap that is
# inside no encoded text. -1 if there is none.
def _place(data: bytes, first: int) -> int:
    limit = len(data) - _OVERLAP
    start = max(first, limit - _SEARCHED)
    ends = [match.end() for match in _BREAK.finditer(data, start, limit)]
    return ends[-1] if ends else -1


def unpacking(read: Read, size: int) -> Read:
    """Return a `read` of what is in the gzip file of `size` bytes behind `read`.

    It raises ExpandsTooFarError, EOFError for a file that ends early, and zlib.error.
    """
    left = _LEAST_UNPACKED + _MAX_GROWTH * size
    inflate, packed = zlib.decompressobj(31), b""
    damage: zlib.error | None = None

    def read_unpacked(count: int) -> bytes:
        nonlocal inflate, packed, left, damage
        while True:
            if damage is not None:
                raise damage
            packed = packed or read(CHUNK)
            if inflate.eof:  # another member, or padding, may follow
                packed = packed.lstrip(b"\0")
                if not packed:
                    return b""
                inflate = zlib.decompressobj(31)
            if not packed and not inflate.eof:
                raise EOFError
            before = inflate.copy()
            try:
                part = inflate.decompress(packed, count)
            except zlib.error as error:
                part, damage = _until_damage(before, packed, left), error
            packed = inflate.unconsumed_tail or inflate.unused_data
            left -= len(part)
            if left < 0:
                raise ExpandsTooFarError
            if part:
                return part

    return read_unpacked


# zlib keeps nothing of the piece in which it finds an error: so it gets one byte after
# the other.
def _until_damage(inflate: _Inflate, packed: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    with suppress(zlib.error):
        for at in range(len(packed)):
            parts.append(inflate.decompress(packed[at : at + 1]))
            size += len(parts[-1])
            if size > limit:
                break
    return b"".join(parts)[:limit]


def header_of(packed: bytes) -> bytes:
    """Return the header, with names and remarks, of the gzip file that begins so."""
    flags, at = packed[3] if len(packed) > 3 else 0, 10
    if flags & 4:
        at += 2 + int.from_bytes(packed[at : at + 2], "little")
    for flag in (8, 16):  # a name, a comment
        if flags & flag:
            end = packed.find(b"\0", at)
            at = end + 1 if end >= 0 else len(packed)
    return packed[:at]


def is_gzip(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is compressed by gzip."""
    return head.startswith(GZIP)
