"""Which package owns a file, and what stands behind that."""

from dataclasses import dataclass

from egressmon.evidence.code_records import PackageRecord


@dataclass(frozen=True, slots=True)
class Owner:
    """A package that has a file by somebody's account."""

    package: PackageRecord
    claimed: str | None = None
    """Why the account, or what it says of the file, may be made up; None: it is not."""
    verified: bool | None = None
    """Whether the file is the one that was installed; None: not compared."""

    @classmethod
    def by(cls, package: PackageRecord, account: str, why: str | None) -> "Owner":
        """Return package as the owner by account, which may be made up: why."""
        return cls(package, f"{account}: {why}" if why is not None else None)
