"""GitHub's workflow commands and Markdown, and how texts are escaped in them."""

from typing import NamedTuple, TextIO

from egressmon.reports.writing.explaining import safe

MAX_ANNOTATIONS = 10
"""GitHub shows no more of each level for a step, and drops the rest without a word."""
_LONGEST = 8192


class Annotation(NamedTuple):
    """A text that GitHub shows with a job, or beside its code."""

    level: str
    """error, warning or notice."""
    title: str
    text: str
    place: str = ""
    """More properties, escaped."""


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


def write_annotations(found: list[Annotation], stream: TextIO) -> None:
    """Write `found` to `stream` as workflow commands, those of each level together."""
    if found:
        stream.write("\n")  # the command's output may end without a newline
    for level in dict.fromkeys(one.level for one in found):
        for one in _fitting([one for one in found if one.level == level]):
            title = f"title={one.title}{one.place}"
            stream.write(f"::{one.level} {title}::{escape(one.text)}\n")


# GitHub drops what is above its limit without a word, so the last one says it.
def _fitting(found: list[Annotation]) -> list[Annotation]:
    if len(found) <= MAX_ANNOTATIONS:
        return found
    shown = found[: MAX_ANNOTATIONS - 1]
    text = (
        f"{len(found) - len(shown)} more are not shown here: a step shows "
        f"{MAX_ANNOTATIONS} of each level; all are in the evidence"
    )
    return [*shown, Annotation(shown[0].level, "Egress, not all shown", text)]


# In a code span nothing is markup, as long as the text cannot end the span.
def cell(text: str) -> str:
    """Return `text` for a table in Markdown, as a code span."""
    if not text:
        return ""
    shown = safe(text, 300).replace("`", "'").replace("|", "¦").replace("\\", "/")
    return f"`{shown}`"
