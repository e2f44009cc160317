"""Read `.egressmon-scan.toml`: what looks like a secret and is none."""

import os
import re
import tomllib
from typing import cast

from egressmon.errors import UsageError
from egressmon.files.bounded import open_regular, read_from
from egressmon.text import printable

DEFAULT = ".egressmon-scan.toml"
_MOST = 4 << 20
_DIGEST = re.compile(r"[0-9a-f]{32}")
_HINT = (
    'write version = 1, and for each:  [[allow]]  digest = "..."  reason = "..."  '
    "(docs/scan.md)"
)


def read_allowed(path: str | None) -> dict[str, str]:
    """Return the reasons by digest in the file at `path`; raises UsageError.

    Without a path: that of DEFAULT in the working directory, if there is one.
    """
    named = path if path is not None else DEFAULT
    if path is None and not os.path.lexists(DEFAULT):
        return {}
    try:
        descriptor = open_regular(named)
        try:
            content = read_from(descriptor, _MOST)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise _wrong(named, getattr(error, "strerror", None) or str(error)) from error
    if content is None:
        raise _wrong(named, f"it is larger than {_MOST} bytes")
    return _parsed(named, content)


def _parsed(path: str, content: bytes) -> dict[str, str]:
    try:
        found = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _wrong(path, str(error)) from error
    if unknown := sorted(found.keys() - {"version", "allow"}):
        raise _wrong(path, f"unknown key {unknown[0]!r}")
    version = found.get("version")
    if type(version) is not int or version != 1:
        raise _wrong(path, "version must be 1")
    rows = found.get("allow", [])
    if not isinstance(rows, list):
        raise _wrong(path, "allow must be a list of tables: [[allow]]")
    allowed: dict[str, str] = {}
    for index, row in enumerate(cast("list[object]", rows)):
        digest, reason = _row(path, f"allow[{index}]", row)
        if digest in allowed:
            raise _wrong(path, f"allow[{index}]: digest {digest} is there already")
        allowed[digest] = reason
    return allowed


def _row(path: str, name: str, row: object) -> tuple[str, str]:
    if not isinstance(row, dict):
        raise _wrong(path, f"{name} must be a table")
    table = cast("dict[str, object]", row)
    if unknown := sorted(table.keys() - {"digest", "reason"}):
        raise _wrong(path, f"{name}: unknown key {unknown[0]!r}")
    digest, reason = table.get("digest"), table.get("reason")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise _wrong(path, f"{name}: digest must be 32 hexadecimal digits, as printed")
    if not isinstance(reason, str) or not reason.strip():
        raise _wrong(path, f"{name}: a reason is missing")
    return digest, reason


def _wrong(path: str, text: str) -> UsageError:
    return UsageError(f"{printable(path)}: {printable(text)}", _HINT)
