"""Read the lines of a file of evidence, with their places, in bounded memory."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from blake3 import blake3

from egressmon.evidence.gate import MAX_RECORD
from egressmon.files.bounded import open_regular
from egressmon.verifying.findings import UnreadableError

_CHUNK = 1 << 20


class Place(NamedTuple):
    """Where a line is: in which file, and where there."""

    number: int
    """From 1."""
    offset: int
    path: str | None = None
    """None: in the file that is read."""


class Measured:
    """The size of a file, and its digest if that is wanted, as far as it was read."""

    def __init__(self, *, digests: bool) -> None:
        self.size = 0
        self.records = 0
        """How many whole lines it has."""
        self._digest = blake3() if digests else None

    def add(self, data: bytes) -> None:
        """Note that `data` was read."""
        self.size += len(data)
        if self._digest is not None:
            self._digest.update(data)

    def digest(self) -> str:
        """Return the digest of all that was read."""
        assert self._digest is not None  # noqa: S101 -- it was wanted
        return f"blake3:{self._digest.hexdigest()}"


def lines_in(path: str, measured: Measured) -> Iterator[tuple[Place, bytes, bool]]:
    """Yield each line without its newline, and whether it has one.

    Of one that is too long, only the beginning is kept. Raises UnreadableError.
    """
    number = 0
    try:
        with os.fdopen(open_regular(path), "rb", buffering=_CHUNK) as file:
            while data := file.readline(MAX_RECORD + 2):
                number += 1
                place = Place(number, measured.size, path)
                measured.add(data)
                is_ended = data.endswith(b"\n")
                while not is_ended and (more := file.readline(_CHUNK)):
                    is_ended = more.endswith(b"\n")
                    measured.add(more)
                measured.records += is_ended
                yield place, data[:-1] if data.endswith(b"\n") else data, is_ended
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(
            f"{path} cannot be read: {reason}", "name evidence, or its directory"
        ) from error
