"""Which system package a file belongs to, by the records of dpkg, apk and rpm.

Nothing is indexed: a run asks about a handful of files. To search for one takes 1 to
30 ms; to read all of Debian's lists into a table takes 400 ms.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from egressmon import files
from egressmon.attribution.packages.owner import Owner
from egressmon.evidence.records.code import PackageRecord
from egressmon.files.beginning import Beginning
from egressmon.files.bounded import MAX_TEXT, read_bounded

_DPKG = "/var/lib/dpkg"
_RPM = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
_APK = "/lib/apk/db/installed"
# Where packages put files, by the Filesystem Hierarchy Standard 3.0; what is local, or
# a user's, is in no package's account.
_SYSTEMS = ("/usr/", "/bin/", "/sbin/", "/lib", "/opt/", "/etc/", "/var/", "/snap/")
_OTHERS = ("/usr/local/",)
_MAX_LIST = 1 << 25
_MAX_STATUS = 1 << 28
_MAX_LISTS = 100_000
_STEM = re.compile(r"(?:lib)?([A-Za-z]{2,})")


class SystemPackages:
    """Searches the records; what a record says that changed in this run is a claim."""

    def __init__(self, beginning: Beginning) -> None:
        self._beginning = beginning

    def owner(self, path: str, root: str) -> Owner | None:
        """Return the package that owns the file `path`, in the system below `root`."""
        if path.startswith(_OTHERS) or not path.startswith(_SYSTEMS):
            return None
        wanted = _spellings(os.fsencode(path))
        found = self._debian(wanted, f"{root}{_DPKG}")
        if found is None:
            found = self._alpine(wanted, f"{root}{_APK}")
        return found if found is not None or root else self._rpm(wanted)

    # The list decides whose the file is; of the status file, a version is taken.
    def _debian(self, wanted: tuple[bytes, bytes], folder: str) -> Owner | None:
        lines = [b"\n" + path + b"\n" for path in wanted]
        for name in _lists(f"{folder}/info", os.fsdecode(wanted[0])):
            content, why = self._beginning.read(f"{folder}/info/{name}", _MAX_LIST)
            data = b"\n" + (content or b"")
            if any(line in data for line in lines):
                package = name.removesuffix(".list").partition(":")[0]
                version = _version(f"{folder}/status", package)
                found = PackageRecord("debian", package[:MAX_TEXT], version)
                return Owner.by(found, "dpkg's list of its files", why)
        return None

    def _alpine(self, wanted: tuple[bytes, bytes], database: str) -> Owner | None:
        content, why = self._beginning.read(database, _MAX_STATUS)
        found = _apk(wanted, content or b"")
        if found is None:
            return None
        return Owner.by(found, "apk's database", why)

    # sqlite3 takes 20 ms to import, and few machines need it.
    def _rpm(self, wanted: tuple[bytes, bytes]) -> Owner | None:
        if not any(Path(one).exists() for one in _RPM):
            return None
        from egressmon.attribution.packages import rpm  # noqa: PLC0415 -- as above

        found = rpm.owner(wanted)
        if found is None:
            return None
        whys = map(self._beginning.why_path, rpm.files())
        return Owner.by(found, "rpm's database", next(filter(None, whys), None))


# Where /bin and /lib are links into /usr, a package may know a file by either name.
def _spellings(path: bytes) -> tuple[bytes, bytes]:
    if path.startswith(b"/usr/"):
        return path, path[4:]
    return path, b"/usr" + path


# Those first whose name has to do with the file's: libcurl4 for libcurl.so.4.
def _lists(folder: str, path: str) -> Iterator[str]:
    try:
        names = [name for name in files.names_in(folder) if name.endswith(".list")]
    except OSError:
        return
    match = _STEM.match(path.rpartition("/")[2])
    stem = match.group(1).lower()[:6] if match is not None else "\0"
    names = names[:_MAX_LISTS]
    yield from sorted(names, key=lambda name: stem not in name)


def _version(status: str, package: str) -> str | None:
    data = b"\n\n" + (read_bounded(status, _MAX_STATUS) or b"")
    start = data.find(b"\n\nPackage: %s\n" % package.encode())
    if start < 0:
        return None
    end = data.find(b"\n\n", start + 2)
    paragraph = data[start : end if end >= 0 else len(data)]
    match = re.search(rb"^Version: (.+)$", paragraph, re.MULTILINE)
    return _text(match.group(1)) if match is not None else None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")[:MAX_TEXT]


# P: name, V: version, F: folder, R: file in it (apk's "installed" database).
def _apk(wanted: tuple[bytes, bytes], database: bytes) -> PackageRecord | None:
    package = version = folder = b""
    for line in database.splitlines():
        key, value = line[:2], line[2:]
        if key == b"P:":
            package = value
        elif key == b"V:":
            version = value
        elif key == b"F:":
            folder = value
        elif key == b"R:" and b"/" + folder + b"/" + value in wanted:
            return PackageRecord("apk", _text(package), _text(version) or None)
    return None
