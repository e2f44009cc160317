"""The table `[native]`: which native code may be installed."""

from typing import Self

from pydantic import Field, model_validator

from egressmon.policy.errors import RefusedError
from egressmon.policy.language.tables import Table
from egressmon.policy.language.values import Pattern


class NativeCode(Table):
    """A package whose native code was reviewed, or a file that is in none."""

    package: Pattern | None = Field(
        default=None,
        description="the package, by name, of npm as npm:NAME; exactly one of "
        "package and file",
        examples=["grpcio"],
    )
    file: Pattern | None = Field(
        default=None,
        description='a file of no package, by path; "*" stands for anything',
        examples=["*/vendor/libcurl.so.4"],
    )
    version: tuple[Pattern, ...] = Field(
        default=(),
        description='only these versions; "*" stands for anything',
        examples=[["1.76.*"]],
    )
    reason: Pattern = Field(description="why", examples=["why it is there"])

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.package is None) == (self.file is None):
            both = "are both given" if self.package is not None else "are both missing"
            hint = 'write package = "grpcio", or file = "*/libcurl.so.4"'
            raise RefusedError(f"package and file {both}", hint)
        if self.file is not None and self.version:
            raise RefusedError("a file of no package has no version", "leave it out")
        return self


class Native(Table):
    """Which native code may be installed that could open connections by itself."""

    allow: tuple[NativeCode, ...] = Field(
        default=(), description="what `egressmon inspect --policy` lets pass"
    )
