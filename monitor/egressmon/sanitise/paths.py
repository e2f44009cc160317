"""Secrets in the names of files and folders: found as in files, and never shown.

What only looks random is none here: in names it is mostly a digest.
"""

import os
from typing import NewType

from egressmon.sanitise.counting import MASK
from egressmon.sanitise.redaction import VAGUE, Hit, search, without

ShownPath = NewType("ShownPath", str)
"""A path without secrets, so that it may be printed."""
# Shorter names hold no token; a password in one is behind such a mark.
_SHORTEST = 12
_MARKS = frozenset(b"=:@")
_ROUNDS = 4


def found_in_name(name: str) -> list[Hit]:
    """Return the secrets in `name`, one part of a path."""
    return _found(os.fsencode(name))


def shown_path(path: str) -> ShownPath:
    """Return `path` with each secret in its parts masked."""
    return ShownPath("/".join(map(_shown, path.split("/"))))


def _found(data: bytes) -> list[Hit]:
    if len(data) < _SHORTEST and _MARKS.isdisjoint(data):
        return []
    return [hit for hit in search(data) if hit.match.kind not in VAGUE]


def _shown(name: str) -> str:
    data = os.fsencode(name)
    for _ in range(_ROUNDS):
        hits = _found(data)
        if not hits:
            return name if data == os.fsencode(name) else os.fsdecode(data)
        data = without(data, hits)
    return MASK
