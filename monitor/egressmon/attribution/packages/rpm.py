"""Which RPM package a file belongs to, by rpm's own database (SQLite since rpm 4.16).

Only the machine's own database is read, never a container's: SQLite does not claim to
read hostile files safely. Format: rpm's lib/backend/sqlite.c, and docs/manual/
format_header.md for the packages' headers.
"""

import sqlite3
import struct
from pathlib import Path

from egressmon.evidence.records.code import PackageRecord
from egressmon.files.bounded import MAX_TEXT

_DATABASES = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")
_ENTRY = struct.Struct(">IIII")
_NAME, _VERSION, _RELEASE = 1000, 1001, 1002
_FOLDER_NUMBERS, _BASENAMES, _FOLDERS = 1116, 1117, 1118
_MAX_ENTRIES = 1 << 16
_MAX_SAME_NAME = 1000


def owner(paths: tuple[bytes, ...]) -> PackageRecord | None:
    """Return the package that owns the file; `paths` are its possible names."""
    for database in _DATABASES:
        if Path(database).exists():
            return owner_in(database, paths)
    return None


def files() -> list[str]:
    """Return the paths of the database in use, with its write-ahead log."""
    for database in _DATABASES:
        if Path(database).exists():
            beside = (f"{database}{end}" for end in ("", "-wal"))
            return [one for one in beside if Path(one).exists()]
    return []


def owner_in(database: str, paths: tuple[bytes, ...]) -> PackageRecord | None:
    """Return the package that owns the file `paths` by the SQLite file `database`."""
    # A journal (WAL) that nobody has open is not there, and only who may write could
    # make it; then the file is all there is.
    for how in ("mode=ro", "immutable=1"):
        try:
            return _ask(f"file:{database}?{how}", paths)
        except sqlite3.Error:
            continue
    return None


def _ask(uri: str, paths: tuple[bytes, ...]) -> PackageRecord | None:
    name = paths[0].rpartition(b"/")[2].decode("utf-8", "surrogateescape")
    connection = sqlite3.connect(uri, uri=True)
    try:
        found = connection.execute(
            "SELECT blob, idx FROM Basenames JOIN Packages USING (hnum) "
            "WHERE Basenames.key = ? LIMIT ?",
            (name, _MAX_SAME_NAME),
        )
        for header, index in found:
            package = _owner(header, index, paths)
            if package is not None:
                return package
    except (struct.error, ValueError, LookupError, UnicodeError):
        return None
    finally:
        connection.close()
    return None


def _owner(header: bytes, index: int, paths: tuple[bytes, ...]) -> PackageRecord | None:
    count, _ = struct.unpack_from(">II", header)
    if count > _MAX_ENTRIES:
        raise ValueError(count)
    entries = {
        tag: (offset, length)
        for tag, _, offset, length in _ENTRY.iter_unpack(
            header[8 : 8 + count * _ENTRY.size]
        )
    }
    store = header[8 + count * _ENTRY.size :]
    folder = int.from_bytes(_word(store, entries[_FOLDER_NUMBERS], index), "big")
    path = _text(store, entries[_FOLDERS], folder) + _text(
        store, entries[_BASENAMES], index
    )
    if path not in paths:
        return None
    name, version, release = (
        _text(store, entries[tag], 0).decode("utf-8", "backslashreplace")[:MAX_TEXT]
        for tag in (_NAME, _VERSION, _RELEASE)
    )
    return PackageRecord("rpm", name, f"{version}-{release}")


def _word(store: bytes, entry: tuple[int, int], index: int) -> bytes:
    offset, length = entry
    if not 0 <= index < length:
        raise LookupError(index)
    return store[offset + 4 * index : offset + 4 * index + 4]


# The text at index of an array of NUL-terminated ones.
def _text(store: bytes, entry: tuple[int, int], index: int) -> bytes:
    offset, length = entry
    if not 0 <= index < length:
        raise LookupError(index)
    for _ in range(index):
        offset = store.index(0, offset) + 1
    return store[offset : store.index(0, offset)]
