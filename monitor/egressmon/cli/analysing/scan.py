"""`egressmon scan`: find secrets in evidence, recordings and other files."""

import sys

from egressmon.cli.requests import ScanRequest
from egressmon.reports.findings.leaks import LeakReport, leak_report, where
from egressmon.sanitise.paths import shown_path
from egressmon.scan.allowed import read_allowed
from egressmon.scan.names import NameSearch
from egressmon.scan.search import FileSearch, Leak, Unsearched
from egressmon.scan.walk import entries
from egressmon.text import unguarded


class _Scan:
    """One search, and its numbers (`reports.leaks.Totals`)."""

    def __init__(self, report: LeakReport, allowed: dict[str, str]) -> None:
        self.files = self.size = self.leaks = self.allowed = self.unsearched = 0
        self._report = report
        self._unused = allowed
        self._allowed = frozenset(allowed)

    def search(self, paths: list[str]) -> None:
        """Search what is at `paths`."""
        names = NameSearch()
        for entry in entries(paths):
            for leak in names.results(entry.path):
                self._leak(leak)
            shown = shown_path(entry.path)
            if not entry.reason:
                self._file(entry.path)
            elif entry.is_problem:
                self._not_searched(Unsearched(shown, None, entry.reason))
            else:
                _note(f"{where(shown, None)}: {entry.reason}")

    def _file(self, path: str) -> None:
        self.files += 1
        file = FileSearch(path)
        for found in file.results():
            if isinstance(found, Unsearched):
                self._not_searched(found)
            else:
                self._leak(found)
        self.size += file.size

    def _leak(self, found: Leak) -> None:
        if found.digest in self._allowed:
            self.allowed += 1
            self._unused.pop(found.digest, None)
        else:
            self.leaks += 1
            self._report.leak(found)

    def _not_searched(self, part: Unsearched) -> None:
        self.unsearched += 1
        self._report.unsearched(part)

    def end(self) -> int:
        """End the report and return the exit status."""
        self._report.end(self)
        for digest in self._unused:
            _note(f"allowed, but not found any more: {digest}")
        return 2 if self.unsearched else int(self.leaks > 0)


def scan(request: ScanRequest) -> int:
    """Search the paths of `request`, and return the exit status."""
    allowed = read_allowed(request.allow)
    report = leak_report(request.form, sys.stdout, unguarded(sys.stdout))
    one = _Scan(report, allowed)
    one.search(request.paths)
    return one.end()


def _note(text: str) -> None:
    sys.stderr.write(f"egressmon: scan: {text}\n")
