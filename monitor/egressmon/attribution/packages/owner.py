"""The package that owns a file, and how well that is known."""

from egressmon.evidence.records.code import PackageRecord
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """The package that a file belongs to, by a package manager's record."""

    package: PackageRecord
    claimed: str | None = None
    """Why the command may have made the record or the file up; None if it cannot."""
    verified: bool | None = None
    """Whether the file has the hash of the one installed; None if not compared."""

    @classmethod
    def by(cls, package: PackageRecord, account: str, why: str | None) -> "Owner":
        """Return `package` as the owner by the record `account`.

        `why` says why that record may be made up; None if it cannot be.
        """
        return cls(package, f"{account}: {why}" if why is not None else None)
