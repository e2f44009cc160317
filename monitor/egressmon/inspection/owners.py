"""Whose a file is: by the records of Python's distributions, of npm, of the system."""

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable

from egressmon.attribution.packages import hashes
from egressmon.attribution.packages.system import SystemPackages
from egressmon.files.beginning import Beginning
from egressmon.inspection.distributions import Owner, Site
from egressmon.inspection.findings import Package
from egressmon.inspection.npm import npm_package
from egressmon.values import replace

_TOP = re.compile(r"/(?:site|dist)-packages/([^/.]+)")
_MOST_HASHED = 1 << 30
NOBODY = Package("none", "")
"""Stands for the package of a file that is in none."""


class Owners:
    """Who owns the files below folders that were walked, and those of the system."""

    def __init__(self, sites: Iterable[Site]) -> None:
        self._listed: defaultdict[str, list[Owner]] = defaultdict(list)
        self._projects: dict[str, Package] = {}
        self._system = SystemPackages(Beginning())
        self._of_system: dict[str, Package | None] = {}
        for site in sites:
            self._projects.update(site.led)
            for path, owners in site.owners.items():
                self._listed[path] += owners

    def of(self, path: str) -> list[tuple[Package, str]]:
        """Return the owners of the file at `path`, and what there is to say of each.

        Each distribution that lists it is one, if the file is what was installed.
        """
        if path in self._listed:
            return [self._compared(path, one) for one in self._listed[path]]
        found = self._project(path) or npm_package(os.path.abspath(path))  # noqa: PTH100 -- of text
        return [(found or self._nobodys_or_systems(path), "")]

    def _nobodys_or_systems(self, path: str) -> Package:
        return replace(self.of_system(path) or NOBODY, import_names=_imported_as(path))

    # Whose `.pth` file leads imports to the folder that it is in.
    def _project(self, path: str) -> Package | None:
        folder = posixpath.dirname(path) if self._projects else ""
        while folder not in {"", "/"}:
            if folder in self._projects:
                return self._projects[folder]
            folder = posixpath.dirname(folder)
        return None

    def of_system(self, path: str) -> Package | None:
        """Return the system's package that the file at `path` belongs to."""
        real = os.path.realpath(path)
        if real not in self._of_system:
            self._of_system[real] = self._ask(real)
        return self._of_system[real]

    def _ask(self, path: str) -> Package | None:
        try:
            found = self._system.owner(path, "")
        except (OSError, ValueError):
            return None
        match found.package.kind if found is not None else None:
            case ("debian" | "apk" | "rpm") as manager if found is not None:
                return Package(manager, found.package.name, found.package.version)
            case _:
                return None

    # Debian strips what it builds, so that its files are not as RECORD has them.
    def _compared(self, path: str, owner: Owner) -> tuple[Package, str]:
        has_hash = owner.digest is not None
        if has_hash and hashes.fits(path, owner.digest, _MOST_HASHED) is not False:
            return owner.package, ""
        found = self._nobodys_or_systems(path)
        if found.manager != "none":
            return found, ""
        how = "with another hash" if has_hash else "without a hash"
        return found, f"the RECORD of {owner.package.name} lists it {how}"


def _imported_as(path: str) -> tuple[str, ...]:
    match = _TOP.search(path)
    return (match[1],) if match is not None and match[1].isidentifier() else ()
