"""Take encodings off: base64, percent-encoding, escapes, entities, UTF-16, gzip, zlib.

What is encoded is decoded, and searched with `matches.py` in turn, to a bounded depth.
All that is decoded of one kind is joined, so that many small pieces cost no more than
one large one; `Pieces` knows where each came from.
"""

import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from egressmon.sanitise.searching import runs
from egressmon.sanitise.searching.found import Run, every, regions

# Between pieces. No pattern matches across it, and no value begins or ends with it.
_BETWEEN = b"\n\x01\n"
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_ESCAPE = re.compile(
    rb"\\{1,8}(?:u00(?P<u>[0-9A-Fa-f]{2})|x(?P<x>[0-9A-Fa-f]{2}))"
    rb"|\\(?P<letter>[0abtnvfreN_\"\\/ ])|\\(?P<fold>\r?\n[ \t]*+\\?)"
)
_ENTITY = re.compile(
    rb"&(?:(?P<name>quot|apos|amp|lt|gt)|#(?P<number>\d{2,3})|#[xX](?P<hex>[0-9A-Fa-f]{2}));"
)
_ENTITIES = {b"quot": b'"', b"apos": b"'", b"amp": b"&", b"lt": b"<", b"gt": b">"}
# Of Markdown, whose marks need a backslash. `ghp\_` is what there is most of.
_MARKDOWN = re.compile(rb"\\(?P<mark>[_*.~#+!|()\[\]{}`-])")
_LETTERS = {
    **dict(zip(b'0abtnvfre"\\/ N_', b'\0\a\b\t\n\v\f\r\x1b"\\/ \x85\xa0', strict=True))
}
_WIDE = re.compile(rb"(?:[\t\r\n\x20-\x7e]\x00{1,3}){8,}[\t\r\n\x20-\x7e]?")
_WIDE_CHARACTER = re.compile(rb"([^\x00])\x00{0,3}")
IN_PLACE = frozenset({"percent", "escapes", "entities", "markdown", "utf-16"})
"""Encodings of single characters, with some of the text around them."""
GZIP = b"\x1f\x8b\x08"
_CHUNK = 1 << 20
_SHORTEST_PACKED, _PORTION = 20, 64 << 10
_TAIL = 8192
_MOST_EARLY = 16
"""How many headers without an end are tried in one place."""
_CONTEXT_BEFORE, _CONTEXT_BEHIND = 256, 512
# Of these are words that look random. A part of a digest looks more so than all of it.
_OF_WORDS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-="
_LONGEST_WORD = 512


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
        self._bounds: list[tuple[int, int]] = []
        self._size = self._until = self._divided = 0

    def add(self, piece: Piece) -> None:
        """Add a piece; one that is as long as its original is mapped byte by byte."""
        self._until = piece.end
        self._begins.append(self._size)
        self._places.append((piece.start, piece.end, len(piece.data)))
        self._parts.append(piece.data)
        self._size += len(piece.data)

    def divide(self) -> None:
        """Keep what follows apart from what was added."""
        self._bounds.append((self._divided, self._size))
        self.add(Piece(_BETWEEN, self._until, self._until))
        self._divided = self._size

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._size

    def joined(self) -> bytes:
        """Return all of it."""
        return b"".join(self._parts)

    def bounds(self) -> list[tuple[int, int]]:
        """Return where each piece that is divided from others begins and ends."""
        return self._bounds

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


def all_pieces(data: bytes, found: list[Run]) -> Iterator[Pieces]:
    """Yield what is in `data` without each of the encodings, one after the other."""
    yield base64_pieces(data, found)
    yield percent_pieces(data)
    yield escaped_pieces(data)
    yield entity_pieces(data)
    yield markdown_pieces(data)
    yield wide_pieces(data)


def base64_pieces(data: bytes, found: list[Run]) -> Pieces:
    """Return what the runs in `data` that were `found` hold, if text or compressed."""
    pieces = Pieces("base64")
    for run in found:
        for index, inner in enumerate(runs.decoded(data, run)):
            if _is_worth(inner, at_start=index == 0):
                pieces.add(Piece(inner, run.start, run.end))
                pieces.divide()
                if inner.startswith(GZIP) or runs.is_text(inner):
                    break  # it begins here
    return pieces


# At its beginning, a long run is decoded whatever it holds: it may be a message with
# texts in it. At other places, only if it is text.
def _is_worth(inner: bytes, *, at_start: bool) -> bool:
    if at_start and (len(inner) >= 256 or inner[:2] in {b"\x1f\x8b", b"\xff\xfe"}):
        return True
    return runs.is_text(inner) or inner.count(0) * 5 >= len(inner) * 2


def percent_pieces(data: bytes) -> Pieces:
    """Return the parts of `data` with percent-encoding, without it."""
    marks = _PERCENT.finditer(data) if b"%" in data else ()
    hits = (match.start() for match in marks)
    pieces = Pieces("percent")
    for start, end in _around(data, hits):
        _unescape(pieces, data, start, end, _PERCENT)
    return pieces


def escaped_pieces(data: bytes) -> Pieces:
    r"""Return the parts of `data` with `\u0041`, `\x41` or folded lines, without."""
    pieces = Pieces("escapes")
    marks = (b"\\u00", b"\\x", b"\\\n", b"\\\r\n")
    hits = sorted(at for mark in marks for at in every(data, mark))
    for start, end in _around(data, iter(hits)):
        _unescape(pieces, data, start, end, _ESCAPE)
    return pieces


# What is around the hits, with the words at its ends whole.
def _around(data: bytes, hits: Iterator[int]) -> Iterator[tuple[int, int]]:
    for start, end in regions(len(data), hits, _CONTEXT_BEFORE, _CONTEXT_BEHIND):
        before = data[max(0, start - _LONGEST_WORD) : start]
        behind = data[end : end + _LONGEST_WORD]
        yield start - _word_at_end(before), end + _word_at_begin(behind)


def _word_at_end(data: bytes) -> int:
    return len(data) - len(data.rstrip(_OF_WORDS))


def _word_at_begin(data: bytes) -> int:
    return len(data) - len(data.lstrip(_OF_WORDS))


def entity_pieces(data: bytes) -> Pieces:
    """Return the parts of `data` with entities of HTML and XML, without them."""
    marks = _ENTITY.finditer(data) if b"&" in data else ()
    hits = (match.start() for match in marks)
    pieces = Pieces("entities")
    for start, end in _around(data, hits):
        _unescape(pieces, data, start, end, _ENTITY)
    return pieces


def markdown_pieces(data: bytes) -> Pieces:
    r"""Return the parts of `data` with `\_`, without the backslashes of Markdown."""
    pieces = Pieces("markdown")
    hits = every(data, b"\\_")
    for start, end in _around(data, hits):
        _unescape(pieces, data, start, end, _MARKDOWN)
    return pieces


def wide_pieces(data: bytes) -> Pieces:
    """Return the parts of `data` that are UTF-16 or UTF-32, with one byte for each."""
    pieces = Pieces("utf-16")
    if data.count(0) < 8:
        return pieces
    for match in _WIDE.finditer(data):
        for one in _WIDE_CHARACTER.finditer(data, *match.span()):
            pieces.add(Piece(one[1], *one.span()))
        pieces.divide()
    return pieces


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
    if match.re is _MARKDOWN:
        return match["mark"]
    if match.re is _ENTITY:
        return _character(match)
    if digits := match["u"] or match["x"]:
        return bytes((int(digits, 16),))
    if letter := match["letter"]:
        return bytes((_LETTERS[letter[0]],))
    return b""


def _character(match: re.Match[bytes]) -> bytes:
    if name := match["name"]:
        return _ENTITIES[name]
    code = int(match["number"] or match["hex"], 10 if match["number"] else 16)
    return bytes((code,)) if code < 128 else match[0]


class Unpacked(NamedTuple):
    """A part of what was compressed, and where all of it stands."""

    data: bytes
    start: int
    end: int
    is_whole: bool
    """Whether everything has been unpacked with this part."""


Bounds = list[tuple[int, int]]


def unpacked(data: bytes, bounds: Bounds, limit: int) -> Iterator[Unpacked]:
    """Yield what is compressed in `data`: by gzip anywhere, by zlib at a beginning.

    `bounds` are the beginnings and ends of what belongs together. Not more than `limit`
    bytes of each are unpacked, a megabyte at a time.
    """
    view = memoryview(data)
    for start, end in bounds:
        at, early = data.find(GZIP, start, end), 0
        while at >= 0 and early < _MOST_EARLY:
            behind = at + 1
            for part in _inflated(view[at:end], at, 31, limit):
                yield part
                behind, early = part.end, early + (not part.is_whole)
            # What ends early may have been no header: another may follow inside.
            behind = behind if behind < end else at + 1
            at = data.find(GZIP, behind, end)
        head = data[start : start + 2]
        if head[:1] == b"\x78" and int.from_bytes(head, "big") % 31 == 0:
            yield from _inflated(view[start:end], start, 15, limit)


# Bytes that look like a header by chance are mostly refused by zlib at once.
def _inflated(
    packed: memoryview, start: int, kind: int, limit: int
) -> Iterator[Unpacked]:
    if len(packed) < _SHORTEST_PACKED:
        return
    inflate = zlib.decompressobj(kind)
    at = size = 0
    tail = rest = b""
    is_told = True  # all that was unpacked is in what was yielded
    while True:
        # In portions, as zlib copies what it did not use.
        portion = rest or packed[at : at + _PORTION]
        at += 0 if rest else len(portion)
        try:
            part = inflate.decompress(portion, _CHUNK)
        except zlib.error:
            return
        rest, size = inflate.unconsumed_tail, size + len(part)
        is_early = not (inflate.eof or part or rest or at < len(packed))
        is_over = size > limit
        is_last = inflate.eof or is_early or is_over
        if part or is_early or (is_last and not is_told):
            end = start + at - len(inflate.unused_data) - len(rest)
            whole = tail + part
            # The word at its end comes again with what is behind it.
            cut = 0 if is_last else _word_at_end(whole[-_LONGEST_WORD:])
            is_told = not cut
            shown = whole[: len(whole) - cut]
            yield Unpacked(shown, start, end, not (is_early or is_over))
        if is_last:
            return
        tail = (tail + part)[-_TAIL:]
        tail = tail[_word_at_begin(tail[:_LONGEST_WORD]) :]
