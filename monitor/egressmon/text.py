"""Text from outside: kept as it is while in memory, escaped as it is written."""

import re
from contextlib import suppress
from typing import TextIO, cast

_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# What CI systems take for commands in a step's output. GitHub (actions/runner,
# ActionCommand.cs): `::` at a line's start, blanks apart, and `##[` anywhere; Azure
# Pipelines `##vso[` and TeamCity `##teamcity[` anywhere; GitLab `section_start:`.
_COMMANDS = re.compile(r"#(?=#\w*\[)|(?<=section)_(?=(?:start|end):)")
_LINE_COMMANDS = re.compile(r"^(\s*):(?=:)", re.MULTILINE)


def from_bytes(data: bytes) -> str:
    """Return data as text, from which the bytes can be had back.

    A byte that is no UTF-8 becomes a lone surrogate, as in `os.fsdecode` (PEP 383).
    """
    return data.decode("utf-8", "surrogateescape")


def from_c_string(data: bytes) -> str:
    """Return the text before the first NUL of data."""
    return from_bytes(data.partition(b"\0")[0])


def escape(text: str) -> str:
    r"""Return text with nothing in it but printable characters, unambiguously.

    What Unicode does not call printable (controls of C0 and C1, marks that reorder
    or hide text, separators of lines, lone surrogates) is escaped: `\n`, `\r`, `\t`;
    `\xNN` for others below 128 and for bytes that are no UTF-8; else `\uNNNN` or
    `\UNNNNNNNN`. A backslash is doubled, so that nothing from outside can look like
    an escape.
    """
    if text.isprintable() and "\\" not in text:
        return text
    # By what is in it, not by its length: hostile text is long, and repeats itself.
    odd = (one for one in set(text) if one == "\\" or not one.isprintable())
    return text.translate({ord(one): _escaped(one) for one in odd})


def printable(value: object, limit: int = 200) -> str:
    """Return value in one line that cannot move a terminal's cursor or colours."""
    text = str(value)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if not text.isprintable():
        text = "".join(one if one.isprintable() else _escaped(one) for one in text)
    return _COMMANDS.sub(_broken, text)


def _escaped(one: str) -> str:
    code = ord(one)
    if one in _SHORT:
        return _SHORT[one]
    if 0xDC80 <= code <= 0xDCFF:  # a byte: PEP 383
        code -= 0xDC00
        return f"\\x{code:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def commandless(text: str) -> str:
    """Return text with what a CI system takes for a command broken by an escape."""
    text = _COMMANDS.sub(_broken, text)
    return _LINE_COMMANDS.sub(r"\1\\x3a", text)


def _broken(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


class Commandless:
    """A stream on which nothing that is written is a CI system's command.

    Escaping each text is not enough: where a line is folded, its rest begins one. What
    cannot be written (a full disk, a reader that is gone) is left out: it is told to
    people, and changes no verdict.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Write text, harmless, and return its length."""
        with suppress(OSError):
            self.unguarded.write(commandless(text))
        return len(text)

    def flush(self) -> None:
        """Write what was not yet."""
        with suppress(OSError):
            self.unguarded.flush()

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
