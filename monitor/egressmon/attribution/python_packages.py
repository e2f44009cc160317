"""Which Python distribution a file belongs to (PyPA: "Recording installed projects").

RECORD is the truth: it covers the `NAME.libs` folders of repaired wheels. A file of an
editable install stands outside of it, in the project that direct_url.json names.
"""

import csv
import json
import posixpath
import re
import urllib.parse
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from egressmon import files
from egressmon.attribution.bounded import (
    MAX_TEXT,
    Identity,
    read_bounded,
    root_identity,
)
from egressmon.attribution.records import PackageRecord

# Not by the email package, which takes 15 ms to import: neither is ever folded.
_HEADER = re.compile(r"^(Name|Version): *(\S+)", re.MULTILINE)
_INTERPRETER = re.compile(r"(/.*)/bin/python[\d.]*t?")
_TOP = re.compile(rb'^"?([^/,"\r\n]+)(?=[/,])', re.MULTILINE)
_SITES = frozenset({"site-packages", "dist-packages"})
_MAX_RECORD = 1 << 24
_MAX_RECORDS = 1 << 27  # of a folder, together
_MAX_METADATA = 1 << 20
_MAX_DISTRIBUTIONS = 10_000
_MAX_SITES = 256


@dataclass(slots=True)
class _Site:
    changed_ns: int
    files: dict[str, PackageRecord] = field(default_factory=dict[str, PackageRecord])
    projects: dict[str, PackageRecord] = field(default_factory=dict[str, PackageRecord])
    """Editable installs: a project's folder and its distribution."""
    room: int = _MAX_RECORDS
    sources: dict[str, list[tuple[str, PackageRecord]]] = field(
        default_factory=dict[str, list[tuple[str, PackageRecord]]]
    )
    """Which RECORDs have files in a folder of the site, or a module there."""


class Distributions:
    """The distributions of every folder that was asked for, read once."""

    def __init__(self) -> None:
        self._sites: dict[tuple[str, Identity], _Site] = {}
        self._interpreters: dict[str, None] = {}

    def owner(self, path: str, root: str) -> PackageRecord | None:
        """Return the distribution that the file at path belongs to."""
        for folder in PurePosixPath(path).parents:
            if folder.name not in _SITES:
                continue
            site = self._site(str(folder), root)
            if site is None:
                continue
            relative = posixpath.relpath(path, folder)
            return site.files.get(relative) or _source_owner(site, relative)
        return self._editable(path, root)

    def know_interpreter(self, path: str) -> None:
        """Take note that path was executed: its site-packages may have editables."""
        match = _INTERPRETER.fullmatch(path)
        if match is not None and len(self._interpreters) < _MAX_SITES:
            self._interpreters[match.group(1)] = None

    def _editable(self, path: str, root: str) -> PackageRecord | None:
        folders = list(map(str, PurePosixPath(path).parents))
        for prefix in self._interpreters:
            for place in _sites_below(f"{root}{prefix}"):
                site = self._site(place.removeprefix(root), root)
                if site is None:
                    continue
                for folder in folders:
                    if folder in site.projects:
                        return site.projects[folder]
        return None

    def _site(self, folder: str, root: str) -> _Site | None:
        place = root + folder
        try:
            changed = files.status(place).st_mtime_ns
        except OSError:
            return None
        key = folder, root_identity(root)
        known = self._sites.get(key)
        if known is not None and known.changed_ns == changed:
            return known
        if len(self._sites) >= _MAX_SITES:
            self._sites.clear()
        site = self._sites[key] = _Site(changed)
        _read_site(place, site)
        return site


def _sites_below(prefix: str) -> list[str]:
    found = [prefix]
    for begin, end in (("lib", ""), ("python3", ""), ("", "-packages")):
        found = [
            f"{folder}/{name}"
            for folder in found
            for name in _names(folder)
            if name.startswith(begin) and name.endswith(end)
        ][:_MAX_SITES]
    return found


def _names(folder: str) -> list[str]:
    try:
        return files.names_in(folder)
    except OSError:
        return []


def _read_site(place: str, site: _Site) -> None:
    for name in files.names_in(place)[:_MAX_DISTRIBUTIONS]:
        if name.endswith(".dist-info"):
            _read_distribution(f"{place}/{name}", name, site)
        elif name.endswith(".egg-info"):
            _read_egg(f"{place}/{name}", name, site)


def _read_distribution(folder: str, name: str, site: _Site) -> None:
    package = _package(f"{folder}/METADATA", name)
    data = read_bounded(f"{folder}/RECORD", _MAX_RECORD)
    if data is not None and len(data) <= site.room:
        site.room -= len(data)
        _read_record(data, package, site)
        for top in set(_TOP.findall(data)):
            name = top.decode("utf-8", "surrogateescape")
            site.sources.setdefault(name, []).append((f"{folder}/RECORD", package))
    data = read_bounded(f"{folder}/direct_url.json", _MAX_METADATA)
    if data is not None and (project := _project(data)) is not None:
        site.projects[project] = package


# Native code is remembered; sources are many, and looked for in RECORD when asked for.
def _read_record(data: bytes, package: PackageRecord, site: _Site) -> None:
    if b".so" not in data and b"../bin/" not in data:
        return
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    wanted = [line for line in lines if ".so" in line or "../bin/" in line]
    try:
        for row in csv.reader(wanted):
            if row:
                site.files[posixpath.normpath(row[0])] = package
    except csv.Error:
        return


def _source_owner(site: _Site, relative: str) -> PackageRecord | None:
    quoted = relative
    if "," in relative or '"' in relative:
        quoted = '"' + relative.replace('"', '""') + '"'
    wanted = b"\n" + quoted.encode("utf-8", "surrogateescape") + b","
    for record, package in site.sources.get(relative.partition("/")[0], ()):
        data = read_bounded(record, _MAX_RECORD)
        if data is not None and wanted in b"\n" + data:
            return package
    return None


def _read_egg(folder: str, name: str, site: _Site) -> None:
    data = read_bounded(f"{folder}/installed-files.txt", _MAX_RECORD)
    if data is None:
        return
    package = _package(f"{folder}/PKG-INFO", name)
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        site.files[posixpath.normpath(posixpath.join(name, line))] = package


def _package(metadata: str, folder: str) -> PackageRecord:
    data = read_bounded(metadata, _MAX_METADATA) or b""
    headers = data.decode("utf-8", "backslashreplace").partition("\n\n")[0]
    found = dict(_HEADER.findall(headers))
    stem, _, rest = folder.rpartition(".")[0].partition("-")
    name = found.get("Name") or stem
    version = found.get("Version") or rest
    return PackageRecord("python", name[:MAX_TEXT], version[:MAX_TEXT] or None)


# PEP 610.
def _project(data: bytes) -> str | None:
    try:
        found: Any = json.loads(data)
        url, editable = found["url"], found["dir_info"]["editable"]
    except (ValueError, RecursionError, TypeError, LookupError):
        return None
    if editable is not True or not isinstance(url, str):
        return None
    if not url.startswith("file://"):
        return None
    return posixpath.normpath(urllib.parse.unquote(url.removeprefix("file://")))
