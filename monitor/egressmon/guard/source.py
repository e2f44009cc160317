"""The bytes of a policy file, read as the guard is installed and parsed when needed.

What is read at the start cannot be changed by the program later. To parse it takes
pydantic, which is slow to import: that waits for the first destination.
"""

from __future__ import annotations  # nothing is imported for them

import os
import stat

_MAX_BYTES = 1 << 20
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Source:
    """A policy file's path and content; `problem` says why there is none."""

    __slots__ = ("data", "digest", "path", "problem")

    def __init__(
        self,
        path: str,
        data: bytes = b"",
        problem: str | None = None,
        digest: str | None = None,
    ) -> None:
        """`digest` is the one that the file must have; None: any."""
        self.path = path
        self.data = data
        self.problem = problem
        self.digest = digest

    def is_like(self, other: Source) -> bool:
        """Tell whether both are the same policy, so that to install one is enough."""
        mine = self.path, self.data, self.problem, self.digest
        return mine == (other.path, other.data, other.problem, other.digest)


def read(path: str, digest: str | None = None) -> Source:
    """Return the policy file at `path`; a file that cannot be used is no error here.

    As for a file that `watch --policy` names, one that everybody can write is refused.
    """
    try:
        descriptor = os.open(path, _READ)
    except (OSError, ValueError) as error:
        return Source(path, problem=_why(error), digest=digest)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Source(path, problem="not a regular file", digest=digest)
        if status.st_mode & stat.S_IWOTH:
            return Source(path, problem="everybody can write it", digest=digest)
        data = _bytes(descriptor)
    except OSError as error:
        return Source(path, problem=_why(error), digest=digest)
    finally:
        os.close(descriptor)
    if len(data) > _MAX_BYTES:
        return Source(path, problem="larger than 1 MiB", digest=digest)
    return Source(path, data, digest=digest)


def _bytes(descriptor: int) -> bytes:
    found = b""
    while len(found) <= _MAX_BYTES and (part := os.read(descriptor, 1 << 16)):
        found += part
    return found


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
