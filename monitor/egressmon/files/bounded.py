"""Read untrusted files: regular files only, and bounded in size."""

import os
from typing import Any, TypeAlias

from egressmon import files

MAX_TEXT = 200
"""How many characters of a name or a version are kept."""


Identity: TypeAlias = tuple[int, int] | None
"""(device, inode) of a root folder, or None if it is gone."""
_OURS = (0, 0)


def open_regular(path: str | bytes) -> int:
    """Return a descriptor to read the regular file at `path`.

    The file type is checked first: opening a device can have effects, and opening a
    pipe can block for ever. Raises OSError.
    """
    return files.open_regular(path)


def read_bounded(path: str, limit: int) -> bytes | None:
    """Return the content of the regular file at `path`.

    None if there is no such file, or if it is above `limit` bytes.
    """
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
    """Return the content of an open regular file; None if it is above `limit` bytes.

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
    """Return the text at `key` of parsed JSON, at most MAX_TEXT of it, or None."""
    try:
        value = found[key]
    except (TypeError, LookupError):
        return None
    return value[:MAX_TEXT] if isinstance(value, str) else None


def root_identity(root: str) -> Identity:
    """Return what tells the root folder `root` from others; "" is the agent's own."""
    if not root:
        return _OURS
    try:
        status = files.status(root)
    except OSError:
        return None
    return status.st_dev, status.st_ino
