"""What a `connection` says of the code behind it, in the order it is written."""

from dataclasses import dataclass
from typing import Literal

NOT_PYTHON = "the process does not run Python"


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A field that the watched command could have made up in this run, and how."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class PackageRecord:
    """What owns a file, by its package manager's own account."""

    kind: str
    name: str
    version: str | None


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """A program or library; without a path, code that is in no file."""

    path: str | None
    build_id: str | None
    package: PackageRecord | None
    verified: bool | None = None
    """Whether it is the file that was installed; None: nothing to compare, or too
    much."""


@dataclass(frozen=True, slots=True)
class ChainStep:
    """A module on the way to the call, and how its innermost call was found."""

    file: str
    how: str


@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """The native modules behind a connection, innermost first in the chain."""

    caller: ModuleFile
    binding: ModuleFile | None
    chain: list[ChainStep]
    chain_end: str | None


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """A Python function that runs, as its process claims."""

    function: str | None
    file: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """The Python code behind a connection, innermost first in each stack."""

    language: Literal["python"] | None
    function: str | None
    file: str | None
    line: int | None
    package: PackageRecord | None
    test: str | None
    test_confirmed: bool | None
    test_at_call: str | None
    stack: list[FrameRecord]
    stack_end: str | None
    created_by: list[FrameRecord] | None
    created_by_end: str | None
    started_by: list[FrameRecord] | None
