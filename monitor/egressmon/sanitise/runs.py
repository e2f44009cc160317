"""Runs of characters as base64 has them: those that look random, and what they hold."""

import re
from binascii import Error, a2b_base64
from collections.abc import Iterator
from typing import NamedTuple

from egressmon.sanitise.catalog import RANDOM_BASE64, RANDOM_HEX, TOKENS
from egressmon.sanitise.found import Match
from egressmon.sanitise.randomness import is_random_key

SHORTEST = 24
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_CLASSES = bytes(97 if code in _ALPHABET else 32 for code in range(256))
_SOUGHT = b"a" * SHORTEST
_RUN = re.compile(rb"[A-Za-z0-9+/_-]++={0,2}")
# Lines of one text in base64 (RFC 2045, PEM, YAML): each but the last is full. A word
# behind one full line is no line of it, unless it ends or looks like one.
_LINES = re.compile(
    rb"(?:(?P<full>[A-Za-z0-9+/]{60,128}+)(?:\s|\\[rn]){1,64}){1,}"
    rb"(?P<last>[A-Za-z0-9+/]*+={0,2})"
)
_LAST = re.compile(
    rb"[A-Za-z0-9+/]{2,}={1,2}|(?=[^0-9]*[0-9])(?=[^A-Z]*[A-Z])[\w+/]{16,}"
)
_HEX = re.compile(rb"[0-9a-f]++|[0-9A-F]++")
# Digests of 160, 192, 224, 256, 320, 384 and 512 bits, and two of them in one word.
_DIGESTS = frozenset({40, 48, 56, 64, 80, 96, 112, 128})
_SHORTEST_SECRET, _LONGEST_SECRET = 40, 512
# What stands before a run that is a digest or a picture; and how public keys begin.
_KNOWN_BEFORE = re.compile(
    rb"(?:sha(?:1|224|256|384|512)[-:=]|md5-|SHA256:|h1:|;base64,|#|integrity=)\\?[\"']?\Z"
)
_KNOWN = re.compile(
    rb"AAAA(?:[BC]3NzaC1|E2VjZHNh|GnNr|InNr)|iVBORw0KGgo|/9j/|R0lGOD|UklGR|PHN2Zy|"
    rb"JVBERi0|d09G[MR]|AAEAAA|sha(?:1|256|384|512)-|MII[A-Za-z0-9]|H4sI|UEsDB"
)
_DISCORD = next(kind for kind in TOKENS if not kind.marks)
_DISCORD_AT = re.compile(_DISCORD.pattern.encode())


class Run(NamedTuple):
    """A run of base64's characters, with the lines that belong to it."""

    start: int
    end: int
    is_wrapped: bool


def all_runs(data: bytes) -> Iterator[Run]:
    """Yield the runs of base64's characters in `data` that may hold something."""
    classes = data.translate(_CLASSES)
    at = classes.find(_SOUGHT)
    while at >= 0:
        lines = _lines(data, at)
        match = lines or _RUN.match(data, at)
        end = match.end() if match else at + SHORTEST
        yield Run(at, end, lines is not None)
        at = classes.find(_SOUGHT, end)


def _lines(data: bytes, at: int) -> re.Match[bytes] | None:
    lines = _LINES.match(data, at)
    if lines is None:
        return None
    is_one = lines.start("full") == at
    return None if is_one and not _LAST.fullmatch(lines["last"]) else lines


def random_words(data: bytes, _: bytes) -> Iterator[Match]:
    """Yield the runs in `data` that look random, and are no digests or pictures."""
    for start, end, is_wrapped in all_runs(data):
        if data[end : end + 1] == b"." and (match := _DISCORD_AT.match(data, start)):
            yield Match(start, match.end(), _DISCORD.name)
        if is_wrapped or not _SHORTEST_SECRET <= end - start <= _LONGEST_SECRET:
            continue
        if kind := _random(data, start, end):
            yield Match(start, end, kind)


def _random(data: bytes, start: int, end: int) -> str | None:
    word = data[start:end]
    if _HEX.fullmatch(word):
        is_secret = len(word) not in _DIGESTS and len(set(word)) >= 8
        kind = RANDOM_HEX.name
    else:
        is_secret = is_random_key(word.decode("ascii"))
        kind = RANDOM_BASE64.name
    if not is_secret or _KNOWN.match(word):
        return None
    return None if _KNOWN_BEFORE.search(data, max(0, start - 24), start) else kind


def decoded(data: bytes, run: Run) -> Iterator[bytes]:
    """Yield what `run` may be in base64; it may begin inside the run."""
    text = data[run.start : run.end]
    if run.is_wrapped:
        text = re.sub(rb"\s|\\[rn]", b"", text)
    text = text.replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
    for skipped in range(4):
        piece = text[skipped:]
        piece = piece[: len(piece) // 4 * 4 + (len(piece) % 4 > 1) * (len(piece) % 4)]
        if len(piece) >= SHORTEST - 4:
            try:
                yield a2b_base64(piece + b"=" * (-len(piece) % 4))
            except Error:
                continue
