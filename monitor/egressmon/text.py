"""Make what came from outside safe to record and to print."""

import re

_UNPRINTABLE = re.compile(
    # C0, DEL, C1, and the marks that reorder or hide text in a terminal.
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)


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
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
