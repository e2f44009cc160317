"""What `egressmon scan` found: as text, JSON, SARIF, or annotations for GitHub.

All of it is written as it is found, as there may be any number of findings.
"""

import json
from typing import Protocol, TextIO
from urllib.parse import quote

from egressmon.host import egressmon_version
from egressmon.reports.writing.wording import plural
from egressmon.reports.writing.workflow import Annotations
from egressmon.sanitise.catalog.listed import KINDS
from egressmon.sanitise.paths import ShownPath
from egressmon.scan.search import Leak, Unsearched
from egressmon.text import printable

FORMATS = ("text", "json", "sarif", "github")
_ABOUT = {kind.name: kind.about for kind in KINDS}
_PARTS = "parts that were not searched"
_LONGEST_PATH = 8192
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


class Totals(Protocol):
    """The numbers of a search."""

    files: int
    size: int
    leaks: int
    allowed: int


class LeakReport(Protocol):
    """Whoever tells of findings, one by one."""

    def leak(self, leak: Leak) -> None:
        """Tell of a secret."""

    def unsearched(self, part: Unsearched) -> None:
        """Tell of what could not be searched."""

    def end(self, totals: Totals) -> None:
        """End the report."""


def leak_report(form: str, stream: TextIO, bare: TextIO) -> LeakReport:
    """Return the report in this `form`, one of FORMATS.

    CI commands that somebody else chose are broken in what is written to `stream`, and
    not in `bare`: so only escaped text goes there.
    """
    match form:
        case "json":
            return _Json(stream)
        case "sarif":
            return _Sarif(stream)
        case "github":
            return _GitHub(stream, bare)
        case _:
            return _Text(stream)


def where(path: ShownPath, line: int | None, column: int | None = None) -> str:
    """Return a place, for people."""
    places = "".join(f":{number}" for number in (line, column) if number is not None)
    return printable(path, _LONGEST_PATH) + places


def described(leak: Leak) -> str:
    """Return what was found, for people."""
    inside = f" inside {', '.join(leak.encodings)}" if leak.encodings else ""
    name = " in its name" if leak.line is None else ""
    return f"{leak.kind}: {_ABOUT[leak.kind]}{inside}{name}"


class _Text:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def leak(self, leak: Leak) -> None:
        place = where(leak.path, leak.line, leak.column)
        self._stream.write(f"{place}: {described(leak)}: *** (digest {leak.digest})\n")

    def unsearched(self, part: Unsearched) -> None:
        self._stream.write(
            f"{where(part.path, part.line)}: not searched: {part.reason}\n"
        )

    def end(self, totals: Totals) -> None:
        files = f"{totals.files} file{'' if totals.files == 1 else 's'}"
        allowed = f", {totals.allowed} allowed" if totals.allowed else ""
        self._stream.write(
            f"{totals.leaks} found{allowed} in {files}, {totals.size} bytes\n"
        )


class _Json:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._unsearched: list[Unsearched] = []
        self._between = "\n"
        stream.write('{"version": 1, "findings": [')

    def leak(self, leak: Leak) -> None:
        self._stream.write(self._between + _json({**leak._asdict(), "masked": "***"}))
        self._between = ",\n"

    def unsearched(self, part: Unsearched) -> None:
        self._unsearched.append(part)

    def end(self, totals: Totals) -> None:
        rows = ",\n".join(_json(part._asdict()) for part in self._unsearched)
        self._stream.write(
            f'\n], "unsearched": [{rows}], "files": {totals.files}, '
            f'"bytes": {totals.size}, "allowed": {totals.allowed}}}\n'
        )


class _Sarif:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._notes: list[object] = []
        self._between = "\n"
        rules = [
            {"id": kind.name, "shortDescription": {"text": kind.about}}
            for kind in KINDS
        ]
        driver = {
            "name": "egressmon scan",
            "version": egressmon_version(),
            "rules": rules,
        }
        stream.write(
            f'{{"$schema": "{_SARIF}", "version": "2.1.0", "runs": [{{"tool": '
            f'{{"driver": {_json(driver)}}}, "results": ['
        )

    def leak(self, leak: Leak) -> None:
        location: dict[str, object] = {"artifactLocation": {"uri": _uri(leak.path)}}
        if leak.line is not None:
            region = {"startLine": leak.line, "startColumn": leak.column}
            location["region"] = region
        result = {
            "ruleId": leak.kind,
            "level": "error",
            "message": {"text": described(leak)},
            "locations": [{"physicalLocation": location}],
            "partialFingerprints": {"egressmonScan/v1": leak.digest},
        }
        self._stream.write(self._between + _json(result))
        self._between = ",\n"

    def unsearched(self, part: Unsearched) -> None:
        location = {"artifactLocation": {"uri": _uri(part.path)}}
        self._notes.append(
            {
                "level": "error",
                "message": {"text": f"not searched: {printable(part.reason)}"},
                "locations": [{"physicalLocation": location}],
            }
        )

    def end(self, totals: Totals) -> None:
        invocation = {
            "executionSuccessful": not self._notes,
            "toolExecutionNotifications": self._notes,
            "properties": {"files": totals.files, "bytes": totals.size},
        }
        self._stream.write(f'\n], "invocations": [{_json(invocation)}]}}]}}\n')


# A stream that breaks CI commands would break the JSON around them, too: so they are
# escaped as JSON escapes. Neither mark is part of JSON itself.
def _json(value: object) -> str:
    text = json.dumps(value)
    return text.replace("#", "\\u0023").replace("section_", "section\\u005f")


# RFC 3986: bytes that are no letters are percent-encoded, whatever their encoding was.
def _uri(path: str) -> str:
    path = path.removeprefix("./")
    relative = quote(path.encode("utf-8", "surrogateescape"), safe="/")
    return f"file://{relative}" if path.startswith("/") else relative


# What is beyond the annotations is in the log: nothing is left out.
class _GitHub:
    def __init__(self, stream: TextIO, bare: TextIO) -> None:
        self._log = _Text(stream)
        self._annotations = Annotations(bare, "error")
        self._leaks = self._unsearched = 0

    def leak(self, leak: Leak) -> None:
        text = f"{described(leak)} (digest {leak.digest})"
        title = "Secret in a file" if leak.line is not None else "Secret in a name"
        if not self._annotations.add(title, text, leak.path, leak.line or 1):
            self._leaks += 1
            self._log.leak(leak)

    def unsearched(self, part: Unsearched) -> None:
        line = part.line or 1
        if not self._annotations.add("Not searched", part.reason, part.path, line):
            self._unsearched += 1
            self._log.unsearched(part)

    def end(self, totals: Totals) -> None:
        unsearched = plural(self._unsearched, "part that was not searched", _PARTS)
        self._annotations.end(
            f"{self._leaks} of {plural(totals.leaks, 'secret')}, and {unsearched}, are "
            "in the log of the step alone"
        )
