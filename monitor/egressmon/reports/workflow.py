"""GitHub's workflow commands: what is in them is escaped there and nowhere else."""

from typing import TextIO

from egressmon.reports.explaining import safe

MAX_ANNOTATIONS = 10
"""GitHub shows no more of each level for a step, and drops the rest without a word."""
_LONGEST = 8192


# A newline ends a workflow command, and % begins an escape.
def escape(text: str) -> str:
    """Return `text` as the message of a workflow command."""
    return safe(text, 1000).replace("%", "%25")


def property_of(text: str) -> str:
    """Return `text` as a property of a workflow command."""
    text = safe(text, _LONGEST).replace("%", "%25")
    return text.replace(":", "%3A").replace(",", "%2C")


class Annotations:
    """Those of one level: as many as are shown, the last of which says what is left."""

    def __init__(self, stream: TextIO, level: str) -> None:
        self._stream = stream
        self._level = level
        self._shown = 0
        self.left = 0
        """How many were not written: who asks for them tells of them in the log."""

    def add(self, title: str, text: str, path: str, line: int | None = None) -> bool:
        """Write one at `path`; False if there is no room for it."""
        if self._shown >= MAX_ANNOTATIONS - 1:
            self.left += 1
            return False
        self._shown += 1
        place = f"file={property_of(path.removeprefix('./'))}"
        place += f",line={line}" if line is not None else ""
        self._write(f"{place},title={title}", text)
        return True

    def end(self, text: str) -> None:
        """Write `text` about what is left, if anything is."""
        if self.left:
            self._write("title=Not all shown", text)

    def _write(self, properties: str, text: str) -> None:
        self._stream.write(f"::{self._level} {properties}::{escape(text)}\n")
