"""Runs of characters as base64 has them: those that look random, and what they hold."""

import re
from binascii import Error, a2b_base64
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache

from egressmon.sanitise.catalog.surrounded import RANDOM_BASE64, RANDOM_HEX
from egressmon.sanitise.catalog.tokens import TOKENS
from egressmon.sanitise.searching.found import Match, Run, Sought
from egressmon.sanitise.words.randomness import is_random_key

SHORTEST = 24
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_OTHERS = bytes(code for code in range(256) if code not in _ALPHABET + b"=")
_ENDS = b"\n\r\"'`\\"  # what may stand behind a line
_CLASSES = bytes(
    97 if code in _ALPHABET else 124 if code in _ENDS else 32 for code in range(256)
)
_STANDARD = bytes.maketrans(b"-_", b"+/")
_PRINTABLE = bytes([9, 10, 13, *range(32, 127)])
_SOUGHT = b"a" * SHORTEST
# Lines of any one width, as strings of code, quoted mail and comments have them.
_NARROWEST, _WIDEST = 16, 128
_HEAD = 1024  # says whether it is text
_LINE = b"a" * _NARROWEST
_LETTERS = re.compile(rb"a++")
_FOLD = re.compile(
    rb"(?:(?:\\{0,7}[\"'`][ \t]{0,8}|[ \t]{1,8})[+.,&]?|[.,&])?[ \t]{0,8}\\{0,2}"
    rb"(?:\r?\n|(?:\\{1,7}r)?\\{1,7}n)"
    rb"(?:[ \t]{0,32}//[ \t]{1,8}|[ \t]{0,16}--[ ]|[ \t>#*;|]{0,64})"
    rb"(?:[bBrRuUfF]{0,2}\\{0,7}[\"'`])?"
)
_RUN = re.compile(rb"[A-Za-z0-9+/_-]++={0,2}")
# Lines of one text in base64 (RFC 2045, PEM, YAML): each but the last is full.
_LINES = re.compile(
    rb"(?:(?P<full>[A-Za-z0-9+/]{60,128}+)(?:\s|\\[rn]){1,64}){1,}"
    rb"(?P<last>[A-Za-z0-9+/]++={0,2})"
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
    rb"|(?i:x-amz-id-2)[\"'\\]{0,4}[:,][\s\[\"'\\-]{0,32}\Z"
)
_KNOWN = re.compile(
    rb"AAAA(?:[BC]3NzaC1|E2VjZHNh|GnNr|InNr)|iVBORw0KGgo|/9j/|R0lGOD|UklGR|PHN2Zy|"
    rb"Qm[1-9A-HJ-NP-Za-km-z]{44}\Z|"  # a CID of IPFS
    rb"_{1,3}(?:R[A-Z]|Z[A-Z])|"  # names of Rust and C++, mangled
    rb"JVBERi0|d09G[MR]|AAEAAA|sha(?:1|256|384|512)-|MII[A-Za-z0-9]|MIGbM|MFkwEwYHKoZ|MCowBQYDK2V|MHYwEAYHKoZ|H4sI|UEsDB"
)
# Tokens without a mark. The long parts of both are runs.
_DISCORD, _AIRTABLE = (
    next(kind for kind in TOKENS if kind.name == name)
    for name in ("discord-token", "airtable-token")
)
_DISCORD_AT = re.compile(_DISCORD.pattern.encode())
_AIRTABLE_AT = re.compile(_AIRTABLE.pattern.encode())


def all_runs(data: bytes) -> Iterator[Run]:
    """Yield the runs of base64's characters in `data` that may hold something."""
    classes = data.translate(_CLASSES)
    found = list(_runs(data, classes))
    wrapped = [run for run in found if run.is_wrapped]
    starts = [run.start for run in wrapped]
    certain: list[Run] = []
    for run in _folded(data, classes):
        index = bisect_right(starts, run.start) - 1
        if index >= 0 and wrapped[index].end >= run.end:
            continue
        yield run
        head = run._replace(end=min(run.end, run.start + _HEAD))
        if is_text(next(decoded(data, head), b"\0")):
            certain.append(run)
    # Lines of it say nothing alone, or the half of a secret. (An escape may be before.)
    starts = [run.start - 1 for run in certain]
    for run in found:
        index = bisect_right(starts, run.start) - 1
        if index < 0 or certain[index].end < run.end:
            yield run


# Those of lines that are as wide as the first, and one that may be shorter.
def _folded(data: bytes, classes: bytes) -> Iterator[Run]:
    at = classes.find(_LINE)
    while at >= 0:
        match = _LETTERS.match(classes, at)
        start, until = match.span() if match else (at, at + _NARROWEST)
        if data[start - 1 : start] == b"\\" and data[start] in b"nrt":
            start += 1  # of an escape
        is_line = classes[until : until + 1] == b"|" and until - start <= _WIDEST
        if is_line and _FOLD.match(data, until):
            lines = _lines_of(until - start).match(data, start)
            if lines is not None:
                until = lines.end()
                yield Run(start, until, is_wrapped=True, is_folded=True)
        at = classes.find(_LINE, until)


@cache
def _lines_of(width: int) -> re.Pattern[bytes]:
    letters = rb"[A-Za-z0-9+/_-]"
    return re.compile(
        rb"(?:%b{%d}%b){1,}%b{1,%d}+(?!%b)={0,2}(?![:.(@])"
        % (letters, width, _FOLD.pattern, letters, width, letters)
    )


def _runs(data: bytes, classes: bytes) -> Iterator[Run]:
    at = classes.find(_SOUGHT)
    while at >= 0:
        match = _RUN.match(data, at)
        end = match.end() if match else at + SHORTEST
        lines = _LINES.match(data, at)
        if lines is None or not _is_one_text(lines, at):
            yield Run(at, end, is_wrapped=False)
        if lines is not None:
            end = lines.end()
            yield Run(at, end, is_wrapped=True)
        at = classes.find(_SOUGHT, end)


# Whether it is certain: a word behind one full line can be another word.
def _is_one_text(lines: re.Match[bytes], at: int) -> bool:
    return lines.start("full") > at or _LAST.fullmatch(lines["last"]) is not None


def random_words(sought: Sought) -> Iterator[Match]:
    """Yield the runs that look random, and are no digests or pictures."""
    data = sought.data
    for start, end, is_wrapped, _ in sought.runs:
        if data[end : end + 1] == b"." and (match := _DISCORD_AT.match(data, start)):
            yield Match(start, match.end(), _DISCORD.name)
        if data[start - 1 : start] == b"." and (
            match := _AIRTABLE_AT.match(data, max(0, start - 18))
        ):
            yield Match(match.start(), match.end(), _AIRTABLE.name)
        if is_wrapped or not _SHORTEST_SECRET <= end - start <= _LONGEST_SECRET:
            continue
        if kind := _random(data, start, end):
            yield Match(start, end, kind)


def _random(data: bytes, start: int, end: int) -> str | None:
    word = data[start:end]
    if _HEX.fullmatch(word):
        is_secret = len(word) not in _DIGESTS and len(set(word)) >= 8
        is_secret = is_secret and not word.isdigit()
        kind = RANDOM_HEX.name
    else:
        is_secret = is_random_key(word.decode("ascii")) and not _is_text(
            data, start, end
        )
        kind = RANDOM_BASE64.name
    if not is_secret or _KNOWN.match(word):
        return None
    return None if _KNOWN_BEFORE.search(data, max(0, start - 64), start) else kind


def _is_text(data: bytes, start: int, end: int) -> bool:
    return is_text(next(decoded(data, Run(start, end, is_wrapped=False)), b"\0"))


def is_text(inner: bytes) -> bool:
    """Tell whether bytes are text, in most."""
    return len(inner.translate(None, _PRINTABLE)) * 4 <= len(inner)


def decoded(data: bytes, run: Run) -> Iterator[bytes]:
    """Yield what `run` may be in base64; it may begin inside the run."""
    text = data[run.start : run.end]
    if _HEX.fullmatch(text):
        return
    if run.is_folded:
        text = b"".join(_FOLD.split(text)).translate(None, _OTHERS)
        if _HEX.fullmatch(text):
            return
    elif run.is_wrapped:
        text = re.sub(rb"\s|\\[rn]", b"", text)
    text = text.rstrip(b"=").translate(_STANDARD)
    for skipped in _beginnings(text):
        piece = text[skipped:]
        piece = piece[: len(piece) // 4 * 4 + (len(piece) % 4 > 1) * (len(piece) % 4)]
        if len(piece) >= SHORTEST - 4:
            try:
                yield a2b_base64(piece + b"=" * (-len(piece) % 4))
            except Error:
                continue


# What is written together with base64 is divided from it by one of its marks.
def _beginnings(text: bytes) -> set[int]:
    if len(text) >= 64:
        return {0, 1, 2, 3}
    last = max(map(text.rfind, (b"+", b"/")))
    return {0, (last + 1) % 4}
