"""Split shell text into simple commands, tolerantly.

This is no parser: it finds words, and places where a command may begin. Whatever it
does not understand becomes words, and each word is searched for secrets.
"""

import re
from typing import NamedTuple

# An alternative that has begun always matches, if need be to the end of the text: so
# the search takes linear time. Groups are not repeated possessively, as that matches
# too much before Python 3.11.5 (cpython gh-106052).
_WORD = re.compile(
    r"(?:[^\s;|&()<>\"'\\`$]++|\$(?!\()|\\(?:.|\Z)|\"(?:[^\"\\]++|\\(?:.|\Z))*(?:\"|\Z)"
    r"|'[^']*+(?:'|\Z))+",
    re.DOTALL,
)
_BETWEEN = re.compile(r"[\n;|&()`]")
_PIECE = re.compile(
    r"\\(?P<escaped>.?)|\"(?P<double>(?:[^\"\\]++|\\(?:.|\Z))*)\"?|'(?P<single>[^']*+)'?"
    r"|(?P<bare>[^\\\"']++)",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\([\"\\$`\n])")


class Word(NamedTuple):
    """A word of shell text, at the offsets from `start` to `end`."""

    start: int
    end: int
    value: str
    """The word without its quotes."""
    quote: str
    """The quotation mark around the whole word, or ""."""


def simple_commands(text: str) -> list[list[Word]]:
    """Return the words of each simple command in `text`."""
    commands: list[list[Word]] = [[]]
    at = 0
    for match in _WORD.finditer(text):
        if _BETWEEN.search(text, at, match.start()):
            commands.append([])
        at = match.end()
        raw = match[0]
        quote = raw[0] if raw[0] in "\"'" and raw.endswith(raw[0]) else ""
        commands[-1].append(Word(match.start(), at, unquoted(raw), quote))
    return [words for words in commands if words]


def unquoted(raw: str) -> str:
    """Return the word `raw` without its quotes and backslashes."""
    if not any(mark in raw for mark in "\"'\\"):
        return raw
    return "".join(map(_unquoted, _PIECE.finditer(raw)))


def _unquoted(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return _ESCAPED.sub(r"\1", match["double"])
    return match["bare"] or match["single"] or match["escaped"] or ""
