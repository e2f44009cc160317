"""Text from outside: kept as it is while in memory, escaped as it is written."""

_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


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
    return "".join(
        one if one.isprintable() and one != "\\" else _escaped(one) for one in text
    )


def printable(value: object, limit: int = 200) -> str:
    """Return value in one line that cannot move a terminal's cursor or colours."""
    text = str(value)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


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
