"""Search a proof for secrets before it is called one."""

import os
import re

from egressmon.proofs.folder import Folder
from egressmon.proofs.known import KnownSecrets
from egressmon.proofs.logs import NOTHING_KNOWN
from egressmon.sanitise.redaction import scan_text

_PIECE = 4 << 20
_OVERLAP = 64 << 10
_MOST = 20
# Digests of our own look like random secrets, and one in many is taken for one. In JSON
# that egressmon writes, no text of others has a quote that is not escaped. At the ends
# of a piece, one may be cut.
_OURS = frozenset({"evidence.jsonl", "summary.json"})
_DIGEST = re.compile(
    rb'(\A(?:[a-z0-9]{0,6}:)?|"[a-z_]{1,40}": ?"(?:blake3|sha256):)'
    rb'([0-9a-f]{1,64})(?="|\Z)'
)


def leaks_in(folder: Folder, known: KnownSecrets = NOTHING_KNOWN) -> list[str]:
    """Return where the files of `folder` hold secrets, a line each, 20 at most.

    Those that are `known` are secrets, whatever they look like.
    """
    found: list[str] = []
    for name in folder.names():
        try:
            found += _in_file(folder, name, known)
        except OSError as error:
            found.append(f"{folder.path.name}/{name} cannot be read: {error.strerror}")
        if len(found) >= _MOST:
            break
    return found[:_MOST]


# In pieces that overlap by more than a secret is long.
def _in_file(folder: Folder, name: str, known: KnownSecrets) -> list[str]:
    found: dict[str, None] = {}
    is_ours = name in _OURS
    with os.fdopen(folder.open(name), "rb", 0) as file:
        line, before = 1, b""
        while piece := file.read(_PIECE):
            data = before + piece
            for finding in scan_text(_without_digests(data) if is_ours else data):
                at = line + finding.line - 1
                text = f"{folder.path.name}/{name}:{at}: {finding.kind}"
                found.setdefault(text, None)
            for place in known.lines_of(data):
                text = f"{folder.path.name}/{name}:{line + place}: a header's value"
                found.setdefault(text, None)
            before = data[-_OVERLAP:]
            line += data.count(b"\n", 0, len(data) - len(before))
    return list(found)[:_MOST]


def _without_digests(data: bytes) -> bytes:
    return _DIGEST.sub(lambda one: one[1] + b"0" * len(one[2]), data)
