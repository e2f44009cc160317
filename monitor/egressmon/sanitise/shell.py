"""Take the text of a shell apart into simple commands, tolerantly.

Not a parser: words with their places, and where a command may begin. What it does not
understand it takes for words, and every word is looked at.
"""

import re
from typing import NamedTuple

# Each alternative takes what it begins, to the end of the text where nothing closes it,
# so that none fails late. Groups are repeated greedily: before 3.11.5 the possessive
# repetition of a group matches too much (cpython gh-106052).
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
    """A word of a shell's text: its place, and what the shell makes of it."""

    start: int
    end: int
    value: str
    quote: str


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
    """Return `raw`, a word as it was written, without its quotes."""
    if not any(mark in raw for mark in "\"'\\"):
        return raw
    return "".join(map(_unquoted, _PIECE.finditer(raw)))


def _unquoted(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return _ESCAPED.sub(r"\1", match["double"])
    return match["bare"] or match["single"] or match["escaped"] or ""
