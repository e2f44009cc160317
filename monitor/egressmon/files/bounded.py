"""Open and read files that others wrote, and may have put traps in the place of."""

import os
from typing import Any, TypeAlias

from egressmon import files

MAX_TEXT = 200
"""How much of a name or a version is kept, in characters."""


Identity: TypeAlias = tuple[int, int] | None
"""Of a root folder: its device and inode; None: it is gone."""
_OURS = (0, 0)


def open_regular(path: str | bytes) -> int:
    """Return a descriptor to read the file at path, which is a regular one.

    What it is, is known before it is opened: to open a device can have effects, and
    to open a pipe can take for ever. Raises OSError.
    """
    return files.open_regular(path)


def read_bounded(path: str, limit: int) -> bytes | None:
    """Return a regular file's content; None where it is none, or above limit bytes."""
    try:
        descriptor = open_regular(path)
    except OSError:
        return None
    try:
        return read_from(descriptor, limit)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def read_from(descriptor: int, limit: int) -> bytes | None:
    """Return what an open regular file holds; None: above limit bytes.

    Raises OSError.
    """
    size = os.fstat(descriptor).st_size
    if size > limit:
        return None
    parts: list[bytes] = []
    place = 0
    while place < limit and (part := os.pread(descriptor, limit - place, place)):
        parts.append(part)
        place += len(part)
    return b"".join(parts)


def text_at(found: Any, key: str) -> str | None:
    """Return the bounded text at key of what JSON said; None where there is none."""
    try:
        value = found[key]
    except (TypeError, LookupError):
        return None
    return value[:MAX_TEXT] if isinstance(value, str) else None


def root_identity(root: str) -> Identity:
    """Return what tells the root folder at root from others; None: it is gone."""
    if not root:
        return _OURS
    try:
        status = files.status(root)
    except OSError:
        return None
    return status.st_dev, status.st_ino
