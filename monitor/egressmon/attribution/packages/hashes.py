"""The hashes that RECORD has of installed files, compared (PEP 376, PEP 427)."""

import base64
import hashlib
import os

from egressmon.files.bounded import MAX_TEXT, open_regular

# Hashing takes 1 to 3 ms a MiB, and connections wait for it.
_MAX_HASHED = 1 << 25


def recorded(text: str) -> str | None:
    """Return the SHA-256 in `text`, a RECORD's second column, or None."""
    kind, _, digest = text.partition("=")
    return digest[:MAX_TEXT].rstrip("=") if kind == "sha256" and digest else None


def fits(place: str, digest: str | None, most: int = _MAX_HASHED) -> bool | None:
    """Tell whether the file at `place` has the SHA-256 `digest`.

    None if there is no digest, or the file cannot be read or is above `most` bytes.
    """
    if digest is None:
        return None
    try:
        descriptor = open_regular(place)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            return None
        found = hashlib.file_digest(file, "sha256").digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == digest
