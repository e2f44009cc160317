"""Read the table `[tool.egressmon-cassettes]` of pyproject.toml.

It is no part of `[tool.egressmon]`, which is a policy: that is refused when others than
the user could have written it, and has a digest of its own.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from egressmon.errors import UsageError
from egressmon.files.bounded import open_regular, read_from
from egressmon.text import printable
from egressmon.values import dataclass

TABLE = "egressmon-cassettes"
LOCK = "cassettes.lock"
_FILE = "pyproject.toml"
_MOST = 4 << 20
_NO = frozenset({"", "0", "false", "no", "off"})
_SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__"})
_HINT = f"see docs/operations/cassettes.md, [tool.{TABLE}]"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the project says of its cassettes."""

    root: Path
    """The folder of pyproject.toml."""
    live_variables: tuple[str, ...] = ()
    """Variables one of which, if it is set, has the tests talk to real services."""
    directories: tuple[str, ...] = ()
    """Where cassettes are, relative to `root`; none: every folder `cassettes`."""
    allow_loopback: bool = True
    """Whether tests may talk to this machine itself while nothing is recorded."""

    def live(self, environment: Mapping[str, str]) -> list[str]:
        """Return the live variables that are set, and not to 0, false, no or off."""
        return [
            name
            for name in self.live_variables
            if environment.get(name, "").strip().lower() not in _NO
        ]

    def folders(self) -> list[Path]:
        """Return the directories with cassettes that are there."""
        if self.directories:
            return [
                one for name in self.directories if (one := self.root / name).is_dir()
            ]
        return list(_found(self.root))


def near(path: Path) -> str:
    """Return `path` as people here write it: relative to the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def is_ci(environment: Mapping[str, str]) -> bool:
    """Tell whether this is a CI job, by the variable CI as all CI systems set it."""
    return environment.get("CI", "").strip().lower() not in _NO


def _found(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, names, _ in os.walk(root):
        names[:] = sorted(
            name for name in names if name not in _SKIPPED and name[0] != "."
        )
        if "cassettes" in names:
            names.remove("cassettes")
            found.append(Path(folder, "cassettes"))
    return found


def read_settings(start: Path) -> Settings:
    """Return the settings in the nearest pyproject.toml from `start` upward.

    Raises UsageError if they are wrong. Without such a file, `start` is the root.
    """
    for folder in (start, *start.parents):
        if (folder / _FILE).is_file():
            return _read(folder)
    return Settings(start)


def _read(folder: Path) -> Settings:
    path = str(folder / _FILE)
    try:
        descriptor = open_regular(path)
        try:
            content = read_from(descriptor, _MOST)
        finally:
            os.close(descriptor)
        data = tomllib.loads((content or b"").decode())
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(path, getattr(error, "strerror", None) or str(error)) from error
    tool = cast("object", data.get("tool"))
    tables = cast("dict[str, object]", tool) if isinstance(tool, dict) else {}
    found = tables.get(TABLE, {})
    if not isinstance(found, dict):
        raise _wrong(path, f"[tool.{TABLE}] must be a table")
    return _settings(folder, path, cast("dict[str, object]", found))


def _settings(folder: Path, path: str, table: dict[str, object]) -> Settings:
    known = {"live_variables", "directories", "allow_loopback"}
    if unknown := sorted(table.keys() - known):
        raise _wrong(path, f"[tool.{TABLE}] has an unknown key {unknown[0]!r}")
    loopback = table.get("allow_loopback", True)
    if not isinstance(loopback, bool):
        raise _wrong(path, "allow_loopback must be true or false")
    return Settings(
        folder,
        _words(path, table, "live_variables"),
        _words(path, table, "directories"),
        loopback,
    )


def _words(path: str, table: dict[str, object], key: str) -> tuple[str, ...]:
    found = table.get(key, [])
    words = cast("list[object]", found) if isinstance(found, list) else [None]
    if not all(isinstance(word, str) and word for word in words):
        raise _wrong(path, f"{key} must be a list of words")
    return tuple(cast("list[str]", words))


def _wrong(path: str, text: str) -> UsageError:
    return UsageError(f"{printable(path)}: {printable(text)}", _HINT)
