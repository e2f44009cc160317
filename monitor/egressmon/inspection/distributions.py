"""The Python distributions of a folder, and whose each file in it is.

By RECORD and METADATA (PyPA, "Recording installed projects"), which are untrusted: who
lists a file is one of its owners, and there may be several.
"""

import csv
import json
import os
import posixpath
import re
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from egressmon.attribution.packages import hashes
from egressmon.files.bounded import MAX_TEXT, read_bounded
from egressmon.inspection.findings import Package, Remarks
from egressmon.values import dataclass

_HEADER = re.compile(r"^(Name|Version): *(\S+)", re.MULTILINE)
_ENDS = (".dist-info", ".egg-info")
_MOST_DISTRIBUTIONS = 10_000
_MOST_PTH = 1000
_MAX_RECORD = 1 << 24
_MAX_RECORDS = 1 << 28  # of one folder
_MAX_METADATA = 1 << 20
_MOST_ROWS = 200_000
_MOST_FILES = 500_000
_SOURCES = (".py", ".pyc", ".pyi")
_MODULE_ENDS = (".py", ".so", ".pyc")
_NO_IMPORT = (".dist-info", ".egg-info", ".libs", ".data")


@dataclass(frozen=True, slots=True)
class Owner:
    """A distribution that lists a file, with the file's hash there, if it has one."""

    package: Package
    digest: str | None


class Site:
    """A folder with distributions, such as site-packages."""

    def __init__(self, folder: str, names: list[str], remarks: Remarks) -> None:
        """Read what is recorded in `folder`, of which `names` are the content.

        What cannot be read is told to `remarks`.
        """
        self.folder = folder
        self._remarks = remarks
        self.outside: dict[str, None] = {}
        """The files that are recorded here, and are elsewhere, such as in bin/."""
        self.owners: defaultdict[str, list[Owner]] = defaultdict(list)
        """Who lists each file."""
        self._room = _MAX_RECORDS
        self.led: dict[str, Package] = {}
        """The folders elsewhere that `.pth` files lead to, and whose those are."""
        self._editable: list[tuple[str, str]] = []
        self._top = _prefix(folder)
        found = sorted(name for name in names if name.endswith(_ENDS))
        for name in found[:_MOST_DISTRIBUTIONS]:
            self._read(name)
        if len(found) > _MOST_DISTRIBUTIONS:
            what = f"more than {_MOST_DISTRIBUTIONS} distributions"
            self._remarks.add(folder, what)
        for name in sorted(one for one in names if one.endswith(".pth"))[:_MOST_PTH]:
            self._read_pth(name)
        self._check_editable()

    # The lines that are no code (site.py of the standard library).
    def _read_pth(self, name: str) -> None:
        data = read_bounded(f"{self.folder}/{name}", _MAX_METADATA)
        if data is None:
            self._remarks.add(f"{self.folder}/{name}", "it cannot be read")
            return
        owners = self.owners.get(f"{self.folder}/{name}")
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            if not line.strip() or line.startswith(("#", "import ", "import\t")):
                continue
            place = os.path.normpath(posixpath.join(self.folder, line.rstrip()))
            if Path(place).is_dir() and not f"{place}/".startswith(f"{self.folder}/"):
                nobody = Package("none", "")
                self.led[place] = owners[0].package if owners else nobody

    # An editable install whose folders code names, and no line of a .pth file.
    def _read_url(self, place: str) -> None:
        data = read_bounded(f"{place}/direct_url.json", _MAX_METADATA)
        project = _editable_project(data) if data is not None else None
        if project is not None:
            self._editable.append((place, project))

    def _check_editable(self) -> None:
        for place, project in self._editable:
            if not any(f"{one}/".startswith(f"{project}/") for one in self.led):
                what = f"it is installed from {project}, which is to be named itself"
                self._remarks.add(place, what)

    def _read(self, name: str) -> None:
        place = posixpath.join(self.folder, name)
        is_egg = name.endswith(".egg-info")
        package = _package(place, name, "PKG-INFO" if is_egg else "METADATA")
        self._read_url(place)
        record = "installed-files.txt" if is_egg else "RECORD"
        data = read_bounded(f"{place}/{record}", min(_MAX_RECORD, self._room))
        if data is None:
            if os.path.lexists(f"{place}/{record}"):
                self._remarks.add(f"{place}/{record}", "it cannot be read")
            return
        self._room -= len(data)
        rows: list[list[str]] = []
        try:
            rows.extend(islice(_rows(data, name if is_egg else ""), _MOST_ROWS))
        except csv.Error as error:
            self._remarks.add(f"{place}/{record}", f"not to its end: {error}")
        if len(rows) == _MOST_ROWS:
            self._remarks.add(f"{place}/{record}", f"only {_MOST_ROWS} lines were read")
        self._note(place, package, rows)

    def _note(self, place: str, package: Package, rows: list[list[str]]) -> None:
        whole = Package("python", package.name, package.version, _imported(rows))
        is_told = False
        for row in rows:
            path = posixpath.normpath(posixpath.join(self.folder, row[0]))
            if not path.startswith(f"{self._top}/"):
                what = f"it lists a file outside of {self._top}: {path[:MAX_TEXT]}"
                if not is_told:
                    self._remarks.add(f"{place}/RECORD", what)
                is_told = True
                continue
            # Sources are most files; what is native code all the same is nobody's.
            if path.endswith(_SOURCES):
                continue
            if len(self.owners) >= _MOST_FILES:
                what = f"more than {_MOST_FILES} files are recorded"
                self._remarks.add(self.folder, what)
                return
            digest = hashes.recorded(row[1]) if len(row) > 1 else None
            self.owners[path].append(Owner(whole, digest))
            if not path.startswith(f"{self.folder}/"):
                self.outside[path] = None


# The folder of all of an environment: bin/, lib/ and share/ are in it.
def _prefix(folder: str) -> str:
    match = re.fullmatch(r"(.*)/lib(?:64)?/python3(?:\.\d+t?)?/[^/]+-packages", folder)
    return match[1] if match is not None else folder


def _rows(data: bytes, below: str) -> Iterator[list[str]]:
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    if below:
        yield from ([posixpath.normpath(f"{below}/{line}")] for line in lines if line)
        return
    rows = csv.reader(line for line in lines if line and "\0" not in line)
    yield from (row for row in rows if row and row[0])


def _package(place: str, name: str, metadata: str) -> Package:
    data = read_bounded(f"{place}/{metadata}", _MAX_METADATA)
    if data is None:  # an egg-info may be a file itself
        data = read_bounded(place, _MAX_METADATA) or b""
    headers = data.decode("utf-8", "surrogateescape").partition("\n\n")[0]
    found = dict(reversed(_HEADER.findall(headers)))
    stem, _, rest = name.rpartition(".")[0].partition("-")
    version = found.get("Version") or rest
    return Package(
        "python", (found.get("Name") or stem)[:MAX_TEXT], version[:MAX_TEXT] or None
    )


# The names below the folder by which Python code imports what is in it.
def _imported(rows: list[list[str]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for row in rows:
        first, slash, rest = row[0].partition("/")
        if first.endswith(_NO_IMPORT) or first in {"..", "__pycache__", ""}:
            continue
        if not slash and not first.endswith(_MODULE_ENDS):
            continue
        if slash and not rest.endswith(_MODULE_ENDS):
            continue
        name = first.partition(".")[0]
        if name.isidentifier():
            found[name] = None
    return tuple(sorted(found))


# PEP 610.
def _editable_project(data: bytes) -> str | None:
    try:
        found = json.loads(data)
        url, editable = found["url"], found["dir_info"]["editable"]
    except (ValueError, RecursionError, TypeError, LookupError):
        return None
    if editable is not True or not isinstance(url, str):
        return None
    if not url.startswith("file://"):
        return None
    return posixpath.normpath(urllib.parse.unquote(url.removeprefix("file://")))
