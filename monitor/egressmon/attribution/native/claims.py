"""What of an attribution the watched command could have made up, and why."""

from egressmon.attribution.native.owners import ImageGround
from egressmon.attribution.native.unwinding.images import Images
from egressmon.attribution.result import Attribution, Ground
from egressmon.evidence.records.code import ClaimRecord
from egressmon.files.beginning import Beginning
from egressmon.values import replace

NO_VIEW = 0, 0
"""For a call of which it is not known in which namespaces it was made."""


class Claims:
    """Marks what of each attribution is only a claim of the command's."""

    def __init__(self, beginning: Beginning, images: Images) -> None:
        """`beginning` is the moment before the run: what is older is no claim."""
        self._beginning = beginning
        self._images = images

    # As of each call: what is behind it may have changed since the last one.
    def mark(self, found: Attribution, view: tuple[int, int]) -> Attribution:
        """Return `found` with its claims as of now.

        `view` are the mount and user namespaces, as inode numbers, in which the process
        sees the files that it has mapped.
        """
        if not found.grounds:
            return found
        elsewhere = self._beginning.why_view(*view)
        claims: list[ClaimRecord] = []
        for ground in found.grounds:
            if why := elsewhere or self._why_claimed(ground):
                claims.append(ClaimRecord(ground.field, why))
            if ground.package_claimed is not None:
                field = f"{ground.field}.package"
                claims.append(ClaimRecord(field, ground.package_claimed))
        return replace(found, claimed=tuple(claims)) if claims else found

    def _why_claimed(self, ground: Ground) -> str | None:
        if ground.path is None:
            return "its code is in no file"
        if not isinstance(ground, ImageGround) or ground.image is None:
            return "its file is not the one that has that name, or cannot be read"
        return self._images.why_claimed(ground.image)
