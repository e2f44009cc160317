"""Search a proof for secrets before it is called one."""

import os
import re

from egressmon.proofs.written.folder import Folder
from egressmon.proofs.written.known import KnownSecrets
from egressmon.proofs.written.logs import NOTHING_KNOWN
from egressmon.sanitise.redaction import scan_text
from egressmon.values import dataclass, field

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


@dataclass(slots=True)
class Searched:
    """What the search of a proof found."""

    found: list[str] = field(default_factory=list[str])
    """Where secrets are, a line each, some 20 at most of a folder."""
    unread: list[str] = field(default_factory=list[str])
    """Which files could not be searched, and why."""


def search(folder: Folder, known: KnownSecrets = NOTHING_KNOWN) -> Searched:
    """Search the files of `folder`; those that are `known` are secrets in any case."""
    result = Searched()
    for name in folder.names():
        try:
            result.found += _in_file(folder, name, known)
        except OSError as error:
            where = f"{folder.path.name}/{name}"
            result.unread.append(f"{where} cannot be read: {error.strerror}")
        if len(result.found) >= _MOST:
            break
    return result


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
