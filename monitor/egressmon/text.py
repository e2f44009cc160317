"""Text from untrusted sources: unchanged in memory, escaped when written or shown."""

import re
import sys
from collections.abc import Iterable
from typing import TextIO, cast

_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONG = {escape: one for one, escape in _SHORT.items()}
_ESCAPES = re.compile(r"\\(?:[\\nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", re.ASCII)
# CI systems carry out commands that appear in a step's output. GitHub (actions/runner,
# ActionCommand.cs): `::` at the beginning of a line, after any blanks, and `##[`
# anywhere. Azure Pipelines: `##vso[`; TeamCity: `##teamcity[`, both anywhere. GitLab:
# `section_start:` and `section_end:`.
_COMMANDS = re.compile(r"#(?=#\w*\[)|(?<=section)_(?=(?:start|end):)")
_LINE_COMMANDS = re.compile(r"^(\s*):(?=:)", re.MULTILINE)


def from_bytes(data: bytes) -> str:
    """Return `data` as text from which the same bytes can be recovered.

    A byte that is not valid UTF-8 becomes a lone surrogate, as in `os.fsdecode`
    (PEP 383).
    """
    return data.decode("utf-8", "surrogateescape")


def from_c_string(data: bytes) -> str:
    """Return the text before the first NUL byte of `data`."""
    return from_bytes(data.partition(b"\0")[0])


def escape(text: str) -> str:
    r"""Return `text` with each unprintable character escaped; this can be undone.

    Unprintable is what Unicode calls so: C0 and C1 controls, characters that reorder
    or hide text, line separators, lone surrogates. They become `\n`, `\r`, `\t`;
    `\xNN` for others below 128 and for bytes that are not UTF-8; else `\uNNNN` or
    `\UNNNNNNNN`. A backslash is doubled, so that untrusted text cannot imitate an
    escape.
    """
    if text.isprintable() and "\\" not in text:
        return text
    # Escape each distinct character once: hostile text is long and repeats itself.
    special = (one for one in set(text) if one == "\\" or not one.isprintable())
    return text.translate({ord(one): _escaped(one) for one in special})


def unescape(text: str) -> str:
    """Return the text that `escape` made `text` of.

    What is no escape stays as it is.
    """
    return _ESCAPES.sub(_unescaped, text) if "\\" in text else text


def printable(value: object, limit: int = 200) -> str:
    """Return `value` as one line of at most `limit` characters, before escaping.

    It holds no control characters for a terminal and no commands for a CI system.
    """
    text = str(value)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if not text.isprintable():
        text = "".join(one if one.isprintable() else _escaped(one) for one in text)
    return _COMMANDS.sub(_broken, text)


def _unescaped(match: re.Match[str]) -> str:
    found = match[0]
    if found in _LONG:
        return _LONG[found]
    code = int.from_bytes(bytes.fromhex(found[2:]), "big")
    if found[1] == "x" and code >= 0x80:  # as in `_escaped`
        code += 0xDC00
    return chr(code) if code <= sys.maxunicode else found


def _escaped(one: str) -> str:
    code = ord(one)
    if one in _SHORT:
        return _SHORT[one]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8 (PEP 383)
        code -= 0xDC00
        return f"\\x{code:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def commandless(text: str) -> str:
    """Return `text` with each CI command broken by an escape, so that none is run."""
    text = _COMMANDS.sub(_broken, text)
    return _LINE_COMMANDS.sub(r"\1\\x3a", text)


def _broken(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


class Commandless:
    """A wrapper of a text stream that breaks the CI commands in what is written to it.

    It is not enough to escape each text before: when a line is wrapped, the remainder
    begins a new line. Failed writes (disk full, reader gone) are ignored: this output
    is for people, and must not change a verdict. `failure` is the first of them, for
    whoever writes what programs read.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write `text` with its CI commands broken; return the length of `text`."""
        try:
            self.unguarded.write(commandless(text))
        except OSError as error:
            self.failure = self.failure or error
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of `lines` as `write` does."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the wrapped stream."""
        try:
            self.unguarded.flush()
        except OSError as error:
            self.failure = self.failure or error

    def __getattr__(self, name: str) -> object:
        return getattr(self.unguarded, name)


def guarded(stream: TextIO) -> TextIO:
    """Return `stream` wrapped in `Commandless`, unless it already is."""
    if isinstance(stream, Commandless):
        return stream
    return cast("TextIO", Commandless(stream))


def failure_of(stream: TextIO) -> OSError | None:
    """Return the first error of what was written to a guarded stream."""
    return stream.failure if isinstance(stream, Commandless) else None


def unguarded(stream: TextIO) -> TextIO:
    """Return the wrapped stream, on which egressmon can write its own CI commands."""
    return stream.unguarded if isinstance(stream, Commandless) else stream
