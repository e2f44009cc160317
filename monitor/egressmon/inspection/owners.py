"""Whose a file is: by the records of Python's distributions, of npm, of the system."""

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterable

from egressmon.attribution.packages import hashes
from egressmon.attribution.packages.lookup import Packages, Place
from egressmon.inspection.distributions import Owner, Site
from egressmon.inspection.findings import Package
from egressmon.inspection.npm import npm_package

NOBODY = Package("none", "")
"""Stands for the package of a file that is in none."""


class Owners:
    """Who owns the files below folders that were walked, and those of the system."""

    def __init__(self, sites: Iterable[Site]) -> None:
        self._listed: defaultdict[str, list[Owner]] = defaultdict(list)
        self._projects: dict[str, Package] = {}
        self._packages = Packages()
        for site in sites:
            self._projects.update(site.led)
            for path, owners in site.owners.items():
                self._listed[path] += owners

    def of(self, path: str) -> list[tuple[Package, str]]:
        """Return the owners of the file at `path`, and what there is to say of each.

        Each distribution that lists it is one, if the file is what was installed.
        """
        if path in self._listed:
            return [_compared(path, one) for one in self._listed[path]]
        found = self._project(path) or npm_package(os.path.abspath(path))  # noqa: PTH100 -- of text
        return [(found or self.of_system(path) or NOBODY, "")]

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
        found = self._packages.of(Place(os.path.realpath(path)))
        if found is None:
            return None
        match found.kind:
            case ("debian" | "apk" | "rpm") as manager:
                return Package(manager, found.name, found.version)
            case _:
                return None


def _compared(path: str, owner: Owner) -> tuple[Package, str]:
    if hashes.fits(path, owner.digest) is not False:
        return owner.package, ""
    name = owner.package.name
    return NOBODY, f"the RECORD of {name} lists it with another hash"
