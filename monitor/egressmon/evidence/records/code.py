"""The parts of a record that describe the code behind a connection or a look-up."""

from typing import ClassVar, Literal

from egressmon.values import dataclass

CodeStatus = Literal["known", "none", "unknown"]
"""Whether the Python code is known; `none` if no Python code can be involved."""


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A field that the watched command could have made up in this run, and why."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class PackageRecord:
    """The package that a file belongs to, as its package manager says."""

    kind: str
    name: str
    version: str | None


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """A program or library, or, without a path, code that is in no file."""

    path: str | None
    build_id: str | None
    package: PackageRecord | None
    verified: bool | None = None
    """Whether it is the file that was installed; None if there was nothing, or too
    much, to compare."""


@dataclass(frozen=True, slots=True)
class ChainStep:
    """A module in the chain of calls, and how its innermost call was found."""

    file: str
    how: str


@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """The native modules behind a connection; in the chain, the innermost is first."""

    caller: ModuleFile
    binding: ModuleFile | None
    chain: list[ChainStep]
    chain_end: str | None


@dataclass(frozen=True, slots=True)
class NativeRecord:
    """A `ModuleRecord` by itself. Other records refer to it by its digest."""

    TYPE: ClassVar[str] = "module"

    digest: str
    caller: ModuleFile
    binding: ModuleFile | None
    chain: list[ChainStep]
    chain_end: str | None


@dataclass(frozen=True, slots=True)
class ModuleReference:
    """The digest of a `ModuleRecord`, as it is written in its place."""

    digest: str


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """A call frame of a Python function, as the memory of its process shows it."""

    function: str | None
    file: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class StackRecord:
    """Python frames, innermost first. Other records refer to it by its digest."""

    TYPE: ClassVar[str] = "stack"

    digest: str
    names: list[str]
    frames: list[tuple[int | None, int | None, int | None]]
    """For each frame (function, file, line); the first two are indexes in `names`."""
    left_out: int


@dataclass(frozen=True, slots=True)
class StackReference:
    """Refers to a stack by its digest; only the digest is written."""

    digest: str
    _record: StackRecord

    @property
    def record(self) -> StackRecord:
        """The stack itself, which is written before the first reference to it."""
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
        """The stacks that it refers to."""
        referred = (self.stack, self.created_by, self.started_by)
        return tuple(one.record for one in referred if one is not None)
