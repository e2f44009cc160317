"""What a `connection` says of the code behind it, in the order it is written."""

from dataclasses import dataclass
from typing import ClassVar, Literal

CodeStatus = Literal["known", "none", "unknown"]
"""Whether Python code is behind a connection: `none` where none can be."""


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
class StackRecord:
    """Python frames, innermost first, which other records refer to."""

    TYPE: ClassVar[str] = "stack"

    digest: str
    names: list[str]
    frames: list[tuple[int | None, int | None, int | None]]
    """Which of the names are its function and its file, and its line."""
    left_out: int


@dataclass(frozen=True, slots=True)
class StackReference:
    """A stack by its digest; what it stands for is not written with it."""

    digest: str
    _record: StackRecord

    @property
    def record(self) -> StackRecord:
        """What is to be written before the first reference."""
        return self._record


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """The Python code behind a connection, with references to its stacks."""

    language: Literal["python"] | None
    function: str | None
    file: str | None
    line: int | None
    package: PackageRecord | None
    test: str | None
    test_confirmed: bool | None
    test_at_call: str | None
    stack: StackReference | None
    stack_end: str | None
    created_by: StackReference | None
    created_by_end: str | None
    started_by: StackReference | None

    @property
    def stacks(self) -> tuple[StackRecord, ...]:
        """What the references stand for."""
        referred = (self.stack, self.created_by, self.started_by)
        return tuple(one.record for one in referred if one is not None)
