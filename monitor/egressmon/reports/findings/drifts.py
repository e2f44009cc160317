"""What `egressmon cassettes drift` found: as text, JSON, or annotations for GitHub."""

import posixpath
from typing import Protocol, TextIO

from egressmon.cassettes.drift import Change, Unreadable
from egressmon.reports.writing.json_text import json_text
from egressmon.reports.writing.workflow import Annotations
from egressmon.sanitise.paths import shown_path
from egressmon.text import printable

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
    return _GitHub(stream, bare, folder) if form == "github" else _Text(stream)


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


def _masked(change: Change) -> dict[str, str]:
    return change._replace(cassette=shown_path(change.cassette))._asdict()


def _where(part: Unreadable) -> str:
    return printable(shown_path(part.path), _LONGEST)


class _Text:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._count = self._unread = 0

    def change(self, change: Change) -> None:
        self._count += 1
        name = printable(shown_path(change.cassette), _LONGEST)
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
        self._stream.write(self._between + json_text(_masked(change)))
        self._between = ",\n"

    def unreadable(self, part: Unreadable) -> None:
        self._unread.append(part)

    def end(self) -> None:
        rows = json_text(
            [part._asdict() | {"path": shown_path(part.path)} for part in self._unread]
        )
        self._stream.write(f'\n], "unreadable": {rows}}}\n')


# What is beyond the annotations is in the log: nothing is left out.
class _GitHub:
    def __init__(self, stream: TextIO, bare: TextIO, folder: str) -> None:
        self._log = _Text(stream)
        self._changes = Annotations(bare, "warning")
        self._unread = Annotations(bare, "error")
        self._folder = folder
        self._count = 0

    def change(self, change: Change) -> None:
        self._count += 1
        path = posixpath.normpath(posixpath.join(self._folder, change.cassette))
        shown = shown_path(path)
        if not self._changes.add("Answers changed", described(change), shown):
            self._log.change(change)

    def unreadable(self, part: Unreadable) -> None:
        if not self._unread.add("Not compared", part.reason, shown_path(part.path)):
            self._log.unreadable(part)

    def end(self) -> None:
        self._changes.end(
            f"{self._changes.left} of {self._count} differences are in the log of the "
            "step alone"
        )
        self._unread.end(
            f"{self._unread.left} more could not be compared: they are in the log of "
            "the step alone"
        )
