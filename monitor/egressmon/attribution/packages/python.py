"""Which Python distribution a file belongs to (PyPA: "Recording installed projects").

RECORD lists the files of a distribution, with the `NAME.libs` folders of repaired
wheels. The files of an editable install are not in it: they lie in the project that
direct_url.json names.
"""

import csv
import json
import posixpath
import re
import urllib.parse
from pathlib import PurePosixPath
from typing import Any

from egressmon import files
from egressmon.attribution.packages import hashes
from egressmon.attribution.packages.owner import Owner
from egressmon.evidence.records.code import PackageRecord
from egressmon.files.beginning import Beginning
from egressmon.files.bounded import MAX_TEXT, Identity, read_bounded, root_identity
from egressmon.values import dataclass, field

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
_PREFIX = re.compile(r"(/.*)/lib(?:64)?/python3(?:\.\d+t?)?/(?:site|dist)-packages")
_SHARED = frozenset({"/usr/local"})  # Debian's /usr/bin/python3 has packages there


@dataclass(frozen=True, slots=True)
class _Account:
    """A distribution, and why its record may be made up (None: it cannot be)."""

    package: PackageRecord
    claimed: str | None


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A file that a RECORD lists, with its hash if the RECORD has one."""

    account: _Account
    digest: str | None = None


@dataclass(slots=True)
class _Site:
    changed_ns: int
    claimed: str | None = None
    """Why the folder may not be an interpreter's; None: it is one's."""
    files: dict[str, _Recorded] = field(default_factory=dict[str, _Recorded])
    projects: dict[str, _Account] = field(default_factory=dict[str, _Account])
    """Editable installs: the distribution of each project folder."""
    room: int = _MAX_RECORDS
    sources: dict[str, list[tuple[str, _Account]]] = field(
        default_factory=dict[str, list[tuple[str, _Account]]]
    )
    """The RECORDs that list files below each top-level name of the folder."""


class Distributions:
    """The Python distributions in each site-packages folder, read when asked for."""

    def __init__(self, beginning: Beginning) -> None:
        """`beginning` is the moment before the run; it knows the user's home folder."""
        self._beginning = beginning
        self._user_prefix = f"{beginning.home}/.local" if beginning.home else None
        self._sites: dict[tuple[str, Identity], _Site] = {}
        self._interpreters: dict[str, None] = {}

    def owner(self, path: str, root: str) -> Owner | None:
        """Return the distribution that owns the file at `path`, below `root`."""
        for folder in PurePosixPath(path).parents:
            if folder.name not in _SITES:
                continue
            site = self._site(str(folder), root)
            if site is None:
                continue
            relative = posixpath.relpath(path, folder)
            recorded = site.files.get(relative)
            if recorded is not None:
                return _compared(recorded, site, root + path)
            account = _source_owner(site, relative)
            if account is None:
                return None
            return Owner(account.package, account.claimed or site.claimed)
        return self._editable(path, root)

    def know_interpreter(self, path: str) -> None:
        """Look for editable installs of the interpreter at `path`, too."""
        match = _INTERPRETER.fullmatch(path)
        if match is not None and len(self._interpreters) < _MAX_SITES:
            self._interpreters[match.group(1)] = None

    def _editable(self, path: str, root: str) -> Owner | None:
        folders = list(map(str, PurePosixPath(path).parents))
        for prefix in self._interpreters:
            for place in _sites_below(f"{root}{prefix}"):
                site = self._site(place.removeprefix(root), root)
                if site is None:
                    continue
                for folder in folders:
                    account = site.projects.get(folder)
                    if account is not None:
                        return Owner(account.package, account.claimed or site.claimed)
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
        site = self._sites[key] = _Site(changed, self._why_unknown(folder, root))
        self._read_site(place, site)
        return site

    # Anybody can make a folder of that name; an interpreter looks into those below its
    # own prefix, and into its user's.
    def _why_unknown(self, folder: str, root: str) -> str | None:
        match = _PREFIX.fullmatch(folder)
        if match is None:
            return "the folder is no interpreter's"
        prefix = match.group(1)
        if prefix in _SHARED or prefix == self._user_prefix:
            return None
        programs = f"{root}{prefix}/bin"
        names = [name for name in _names(programs) if name.startswith("python3")]
        found = [f"{programs}/{name}" for name in names[:_MAX_SITES]]
        if any(self._beginning.why_path(one) is None for one in found):
            return None
        return f"no interpreter was in {prefix}/bin before the run"

    def _read_site(self, place: str, site: _Site) -> None:
        for name in files.names_in(place)[:_MAX_DISTRIBUTIONS]:
            if name.endswith(".dist-info"):
                self._read_distribution(f"{place}/{name}", name, site)
            elif name.endswith(".egg-info"):
                self._read_egg(f"{place}/{name}", name, site)

    def _read_distribution(self, folder: str, name: str, site: _Site) -> None:
        package, why = self._package(f"{folder}/METADATA", name)
        data, changed = self._beginning.read(f"{folder}/RECORD", _MAX_RECORD)
        # A folder that was moved here brings files of any age; its own ctime tells.
        changed = changed or self._beginning.why_path(folder)
        why = f"{name}: {changed}" if changed is not None else why
        account = _Account(package, why)
        if data is not None and len(data) <= site.room:
            site.room -= len(data)
            _read_record(data, account, site)
            for top in set(_TOP.findall(data)):
                name = top.decode("utf-8", "surrogateescape")
                site.sources.setdefault(name, []).append((f"{folder}/RECORD", account))
        url, changed = self._beginning.read(f"{folder}/direct_url.json", _MAX_METADATA)
        if url is not None and (project := _project(url)) is not None:
            if changed is not None:
                account = _Account(package, f"direct_url.json: {changed}")
            site.projects[project] = account

    def _read_egg(self, folder: str, name: str, site: _Site) -> None:
        account = f"{folder}/installed-files.txt"
        data, changed = self._beginning.read(account, _MAX_RECORD)
        if data is None:
            return
        package, why = self._package(f"{folder}/PKG-INFO", name)
        why = f"{name}: {changed}" if changed is not None else why
        recorded = _Recorded(_Account(package, why))
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            site.files[posixpath.normpath(posixpath.join(name, line))] = recorded

    def _package(self, metadata: str, folder: str) -> tuple[PackageRecord, str | None]:
        data, changed = self._beginning.read(metadata, _MAX_METADATA)
        headers = (data or b"").decode("utf-8", "backslashreplace")
        found = dict(_HEADER.findall(headers.partition("\n\n")[0]))
        stem, _, rest = folder.rpartition(".")[0].partition("-")
        name = found.get("Name") or stem
        version = found.get("Version") or rest
        package = PackageRecord("python", name[:MAX_TEXT], version[:MAX_TEXT] or None)
        return package, f"{folder}: {changed}" if changed is not None else None


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


# What RECORD says of the file is compared with it: RECORD, by PEP 376 and 427.
def _compared(recorded: _Recorded, site: _Site, place: str) -> Owner:
    account = recorded.account
    fits = hashes.fits(place, recorded.digest)
    why = account.claimed or site.claimed
    if fits is False:
        why = "RECORD has another hash of the file"
    return Owner(account.package, why, fits)


# Native code is remembered; sources are many, and looked for in RECORD when asked for.
def _read_record(data: bytes, account: _Account, site: _Site) -> None:
    if b".so" not in data and b"../bin/" not in data:
        return
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    wanted = [line for line in lines if ".so" in line or "../bin/" in line]
    try:
        for row in csv.reader(wanted):
            if row:
                digest = hashes.recorded(row[1]) if len(row) > 1 else None
                site.files[posixpath.normpath(row[0])] = _Recorded(account, digest)
    except csv.Error:
        return


def _source_owner(site: _Site, relative: str) -> _Account | None:
    quoted = relative
    if "," in relative or '"' in relative:
        quoted = '"' + relative.replace('"', '""') + '"'
    wanted = b"\n" + quoted.encode("utf-8", "surrogateescape") + b","
    for record, account in site.sources.get(relative.partition("/")[0], ()):
        data = read_bounded(record, _MAX_RECORD)
        if data is not None and wanted in b"\n" + data:
            return account
    return None


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
