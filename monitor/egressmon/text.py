"""Make what came from outside safe to record and to print."""

import re
from typing import TextIO, cast

_UNPRINTABLE = re.compile(
    # C0, DEL, C1, and the marks that reorder or hide text in a terminal.
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
# What CI systems take for commands in a step's output. GitHub (actions/runner,
# ActionCommand.cs): `::` at a line's start, blanks apart, and `##[` anywhere; Azure
# Pipelines `##vso[` and TeamCity `##teamcity[` anywhere; GitLab `section_start:`.
_COMMANDS = re.compile(r"#(?=#\w*\[)|(?<=section)_(?=(?:start|end):)")
_LINE_COMMANDS = re.compile(r"^(\s*):(?=:)", re.MULTILINE)


def from_bytes(data: bytes) -> str:
    """Return data as text: UTF-8, with any other byte as a `\\xNN` escape."""
    return data.decode("utf-8", "backslashreplace")


def from_c_string(data: bytes) -> str:
    """Return the text before the first NUL of data."""
    return from_bytes(data.partition(b"\0")[0])


def printable(value: object, limit: int = 200) -> str:
    """Return value in one line that cannot move a terminal's cursor or colours."""
    text = str(value)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return _COMMANDS.sub(_escaped, _UNPRINTABLE.sub(_escaped, text))


def commandless(text: str) -> str:
    """Return text with what a CI system takes for a command broken by an escape."""
    text = _COMMANDS.sub(_escaped, text)
    return _LINE_COMMANDS.sub(r"\1\\x3a", text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


class Commandless:
    """A stream on which nothing that is written is a CI system's command.

    Escaping each text is not enough: where a line is folded, its rest begins one.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Write text, harmless, and return its length."""
        self.unguarded.write(commandless(text))
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self.unguarded, name)


def guarded(stream: TextIO) -> TextIO:
    """Return stream with a guard around it, which has the same methods."""
    if isinstance(stream, Commandless):
        return stream
    return cast("TextIO", Commandless(stream))


def unguarded(stream: TextIO) -> TextIO:
    """Return the stream itself, for commands of our own."""
    return stream.unguarded if isinstance(stream, Commandless) else stream
