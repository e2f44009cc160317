"""Read small files that others wrote."""

import os
import stat
from typing import Any

MAX_TEXT = 200
"""How much of a name or a version is kept, in characters."""


def read_bounded(path: str, limit: int) -> bytes | None:
    """Return a regular file's content; None where it is none, or above limit bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(limit)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def text_at(found: Any, key: str) -> str | None:
    """Return the bounded text at key of what JSON said; None where there is none."""
    try:
        value = found[key]
    except (TypeError, LookupError):
        return None
    return value[:MAX_TEXT] if isinstance(value, str) else None
