"""What `egressmon cassettes drift` found: as text, JSON, or annotations for GitHub."""

import json
import posixpath
from typing import Protocol, TextIO

from egressmon.cassettes.drift import Change, Unreadable
from egressmon.reports.workflow import escape, property_of
from egressmon.text import printable

_MAX_ANNOTATIONS = 10  # GitHub shows no more of each level for a step
_LONGEST = 1000


class DriftReport(Protocol):
    """Whoever tells of changes, one by one."""

    def change(self, change: Change) -> None:
        """Tell of a change."""

    def unreadable(self, part: Unreadable) -> None:
        """Tell of what could not be compared."""

    def end(self) -> None:
        """End the report."""


def drift_report(form: str, folder: str, stream: TextIO, bare: TextIO) -> DriftReport:
    """Return the report in this `form`: text, json or github.

    `folder` is where the fresh cassettes are, beside whose names annotations stand.
    CI commands that somebody else chose are broken in what is written to `stream`, and
    not in `bare`: so only escaped text goes there.
    """
    if form == "json":
        return _Json(stream)
    return _GitHub(bare, folder) if form == "github" else _Text(stream)


def described(change: Change) -> str:
    """Return what changed in an answer, for people."""
    what = " ".join(part for part in (change.what, change.where) if part)
    if not change.old:
        text = f"{what}: new" + ("" if _is_there(change.new) else f", {change.new}")
    elif not change.new:
        text = f"{what}: gone" + ("" if _is_there(change.old) else f", {change.old}")
    else:
        text = f"{what}: {change.old} -> {change.new}"
    return printable(f"{change.interaction}: {text}".removeprefix(": "), _LONGEST)


def _is_there(value: str) -> bool:
    return value in {"there", "recorded"}


def _where(part: Unreadable) -> str:
    return printable(part.path, _LONGEST)


class _Text:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._count = self._unread = 0

    def change(self, change: Change) -> None:
        self._count += 1
        name = printable(change.cassette, _LONGEST)
        self._stream.write(f"{name}: {described(change)}\n")

    def unreadable(self, part: Unreadable) -> None:
        self._unread += 1
        self._stream.write(f"{_where(part)}: not compared: {printable(part.reason)}\n")

    def end(self) -> None:
        plural = "" if self._count == 1 else "s"
        left = f", {self._unread} not compared" if self._unread else ""
        self._stream.write(f"{self._count} difference{plural}{left}\n")


class _Json:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._between = "\n"
        self._unread: list[Unreadable] = []
        stream.write('{"version": 1, "changes": [')

    def change(self, change: Change) -> None:
        self._stream.write(self._between + json.dumps(change._asdict()))
        self._between = ",\n"

    def unreadable(self, part: Unreadable) -> None:
        self._unread.append(part)

    def end(self) -> None:
        rows = json.dumps([part._asdict() for part in self._unread])
        self._stream.write(f'\n], "unreadable": {rows}}}\n')


class _GitHub:
    def __init__(self, stream: TextIO, folder: str) -> None:
        self._stream = stream
        self._folder = folder
        self._count = 0

    def change(self, change: Change) -> None:
        self._count += 1
        if self._count < _MAX_ANNOTATIONS:
            path = posixpath.normpath(posixpath.join(self._folder, change.cassette))
            place = f"file={property_of(path)},title=Answers changed"
            self._stream.write(f"::warning {place}::{escape(described(change))}\n")

    def unreadable(self, part: Unreadable) -> None:
        place = f"file={property_of(part.path)},title=Not compared"
        self._stream.write(f"::error {place}::{escape(part.reason)}\n")

    # GitHub drops what is above its limit without a word, so the last one says it.
    def end(self) -> None:
        if (left := self._count - _MAX_ANNOTATIONS + 1) > 0:
            self._stream.write(
                f"::warning title=Not all shown::{left} more are not shown here, of "
                f"{self._count} differences in all: --format text has them\n"
            )
