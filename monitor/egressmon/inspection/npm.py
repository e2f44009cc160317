"""The npm package that a file in a folder node_modules belongs to.

It is that of the nearest package.json that has a name, not past the package's own
folder, which is the one below node_modules (npm-package.json(5)).
"""

import json
import posixpath
from functools import lru_cache

from egressmon.files.bounded import read_bounded, text_at
from egressmon.inspection.findings import Package

_MAX_JSON = 1 << 20
_FOLDER = "node_modules"


def npm_package(path: str) -> Package | None:
    """Return the package of the file at `path`; None if no account names one."""
    if f"/{_FOLDER}/" not in path:
        return None
    folder = posixpath.dirname(path)
    while f"/{_FOLDER}/" in f"{folder}/":
        package = _account(folder)
        if package is not None:
            return package
        if _is_package_folder(folder):
            return None
        folder = posixpath.dirname(folder)
    return None


@lru_cache(1 << 14)
def _account(folder: str) -> Package | None:
    data = read_bounded(f"{folder}/package.json", _MAX_JSON)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    name, version = text_at(found, "name"), text_at(found, "version")
    return Package("npm", name, version) if name else None


def _is_package_folder(folder: str) -> bool:
    above = posixpath.dirname(folder)
    if posixpath.basename(above).startswith("@"):
        above = posixpath.dirname(above)
    return posixpath.basename(above) == _FOLDER
