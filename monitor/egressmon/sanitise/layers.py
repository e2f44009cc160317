"""Take encodings off: base64, percent-encoding, escapes, UTF-16, gzip and zlib.

What is encoded is decoded, and searched with `matches.py` in turn, to a bounded depth.
All that is decoded of one kind is joined, so that many small pieces cost no more than
one large one; `Pieces` knows where each came from.
"""

import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from egressmon.sanitise import runs
from egressmon.sanitise.found import every

# Between pieces. No pattern matches across it, and no value begins or ends with it.
_BETWEEN = b"\n\x01\n"
_PRINTABLE = bytes([9, 10, 13, *range(32, 127)])
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_ESCAPE = re.compile(
    rb"\\{1,8}(?:u00(?P<u>[0-9A-Fa-f]{2})|x(?P<x>[0-9A-Fa-f]{2}))"
    rb"|\\(?P<letter>[0abtnvfreN_\"\\/ ])|\\(?P<fold>\r?\n[ \t]*+\\?)"
)
_LETTERS = {
    **dict(zip(b'0abtnvfre"\\/ N_', b'\0\a\b\t\n\v\f\r\x1b"\\/ \x85\xa0', strict=True))
}
_WIDE = re.compile(rb"(?:[\t\r\n\x20-\x7e]\x00){8,}+[\t\r\n\x20-\x7e]?")
GZIP = b"\x1f\x8b\x08"
_CHUNK = 1 << 20
_CONTEXT_BEFORE, _CONTEXT_BEHIND = 256, 512


class Piece(NamedTuple):
    """Decoded bytes, and where they stand in what was decoded."""

    data: bytes
    start: int
    end: int


class Pieces:
    """Pieces joined to one buffer; a place in it is known in the original, too."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._parts: list[bytes] = []
        self._begins: list[int] = []
        self._places: list[tuple[int, int, int]] = []
        self._size = 0

    def add(self, piece: Piece) -> None:
        """Add a piece; one that is as long as its original is mapped byte by byte."""
        self._begins.append(self._size)
        self._places.append((piece.start, piece.end, len(piece.data)))
        self._parts.append(piece.data)
        self._size += len(piece.data)

    def divide(self) -> None:
        """Keep what follows apart from what was added."""
        self.add(Piece(_BETWEEN, 0, 0))

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._size

    def joined(self) -> bytes:
        """Return all of it."""
        return b"".join(self._parts)

    def starts(self) -> Iterator[int]:
        """Yield where pieces begin."""
        return iter(self._begins)

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the original of the bytes from `start` to `end`."""
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, at: int) -> tuple[int, int]:
        index = bisect_right(self._begins, at) - 1
        start, end, size = self._places[index]
        if end - start == size:
            start += at - self._begins[index]
            return start, start + 1
        return start, end


def base64_pieces(data: bytes) -> Pieces:
    """Return what the runs of base64 in `data` hold, if text or compressed."""
    pieces = Pieces("base64")
    for run in runs.all_runs(data):
        for index, inner in enumerate(runs.decoded(data, run)):
            if _is_worth(inner, at_start=index == 0):
                pieces.add(Piece(inner, run.start, run.end))
                pieces.divide()
    return pieces


# At its beginning, a long run is decoded whatever it holds: it may be a message with
# texts in it. At other places, only if it is text.
def _is_worth(inner: bytes, *, at_start: bool) -> bool:
    if at_start and (len(inner) >= 256 or inner[:2] in {b"\x1f\x8b", b"\xff\xfe"}):
        return True
    wide = inner.count(0) * 5 >= len(inner) * 2
    rest = len(inner) if wide else len(inner.translate(None, _PRINTABLE))
    return wide or rest * 4 <= len(inner)


def percent_pieces(data: bytes) -> Pieces:
    """Return the parts of `data` with percent-encoding, without it."""
    hits = (match.start() for match in _PERCENT.finditer(data))
    pieces = Pieces("percent")
    for start, end in _regions(data, hits if b"%" in data else iter(())):
        _unescape(pieces, data, start, end, _PERCENT)
    return pieces


def escaped_pieces(data: bytes) -> Pieces:
    r"""Return the parts of `data` with `\u0041`, `\x41` or folded lines, without."""
    pieces = Pieces("escapes")
    marks = (b"\\u00", b"\\x", b"\\\n", b"\\\r\n")
    hits = sorted(at for mark in marks for at in every(data, mark))
    for start, end in _regions(data, iter(hits)):
        _unescape(pieces, data, start, end, _ESCAPE)
    return pieces


def wide_pieces(data: bytes) -> Pieces:
    """Return the parts of `data` that are UTF-16, in one byte for each character."""
    pieces = Pieces("utf-16")
    if data.count(0) < 8:
        return pieces
    for match in _WIDE.finditer(data):
        for at in range(match.start(), match.end(), 2):
            pieces.add(Piece(data[at : at + 1], at, min(at + 2, match.end())))
        pieces.divide()
    return pieces


def _regions(data: bytes, hits: Iterator[int]) -> Iterator[tuple[int, int]]:
    start = end = -1
    for hit in hits:
        if hit - _CONTEXT_BEFORE > end:
            if end >= 0:
                yield start, min(end, len(data))
            start = max(0, hit - _CONTEXT_BEFORE)
        end = hit + _CONTEXT_BEHIND
    if end >= 0:
        yield start, min(end, len(data))


def _unescape(
    pieces: Pieces, data: bytes, start: int, end: int, escape: re.Pattern[bytes]
) -> None:
    at = start
    for match in escape.finditer(data, start, end):
        if match.start() > at:
            pieces.add(Piece(data[at : match.start()], at, match.start()))
        at = match.end()
        pieces.add(Piece(_meaning(match), match.start(), at))
    pieces.add(Piece(data[at:end], at, end))
    pieces.divide()


def _meaning(match: re.Match[bytes]) -> bytes:
    if match.re is _PERCENT:
        return bytes((int(match[0][1:], 16),))
    if digits := match["u"] or match["x"]:
        return bytes((int(digits, 16),))
    if letter := match["letter"]:
        return bytes((_LETTERS[letter[0]],))
    return b""


class Unpacked(NamedTuple):
    """A part of what was compressed, and where all of it stands."""

    data: bytes
    start: int
    end: int
    is_whole: bool
    """Whether everything has been unpacked with this part."""


def unpacked(data: bytes, starts: Iterator[int], limit: int) -> Iterator[Unpacked]:
    """Yield what is compressed in `data`, by gzip anywhere and by zlib at `starts`.

    Not more than `limit` bytes of each are unpacked, a megabyte at a time.
    """
    for at in every(data, GZIP):
        yield from _inflated(data, at, 31, limit)
    for at in starts:
        head = data[at : at + 2]
        if head[:1] == b"\x78" and int.from_bytes(head, "big") % 31 == 0:
            yield from _inflated(data, at, 15, limit)


def _inflated(data: bytes, start: int, kind: int, limit: int) -> Iterator[Unpacked]:
    inflate = zlib.decompressobj(kind)
    rest, size, tail = data[start:], 0, b""
    while True:
        try:
            part = inflate.decompress(rest, _CHUNK)
        except zlib.error:
            return
        rest, size = inflate.unconsumed_tail, size + len(part)
        end = len(data) - len(inflate.unused_data)
        done = inflate.eof or not (part or rest)
        over = size > limit
        if tail or part:
            yield Unpacked(tail + part, start, end, inflate.eof or not over)
        if done or over:
            return
        tail = (tail + part)[-8192:]
