"""Search a recording for secrets, or take them out: for bodies, headers, logs, files.

`scan_text` and `redact` are one engine: `redact` replaces what `scan_text` finds until
it finds nothing. So what `redact` returned is clean for `scan_text` (and for
`egressmon scan`), and redacting it again changes nothing. What counts as a secret is
in `catalog.py`; `layers.py` takes off base64, percent-encoding, escapes, UTF-16, gzip
and zlib, to a depth of MAX_DEPTH.

    text, counts = redact('{"api_key": "sk-ant-…"}')   # str gives str, bytes give bytes
    for finding in scan_text(path.read_bytes()):
        print(finding.line, finding.kind, finding.digest)

Both keep nothing, write nothing and raise nothing. They need memory of some ten times
the text: for large files use `egressmon.scan`, which reads in windows. A secret that is
encoded or compressed is found inside, but taken out with all that was encoded with it:
so decode bodies first where they should stay readable. Structure is not parsed, so that
broken JSON is searched, too; a mask never contains a quote, a backslash or a newline.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from egressmon.sanitise import layers
from egressmon.sanitise.catalog import RANDOM_BASE64, RANDOM_HEX
from egressmon.sanitise.found import Match
from egressmon.sanitise.matches import matches, without_overlaps

MASK = "***"
MAX_DEPTH = 5
"""How many encodings inside each other are taken off."""
UNSEARCHED = "unsearched"
"""The kind of what could not be searched to its end, as it unpacks to too much."""
_LEAST_BUDGET = 64 << 20
_MAX_GROWTH = 100
_ROUNDS = 16
_VAGUE = frozenset({RANDOM_BASE64.name, RANDOM_HEX.name})

_Text = TypeVar("_Text", str, bytes)


class Finding(NamedTuple):
    """A secret in a text. It does not hold the secret, so it may be printed."""

    start: int
    """The offset in bytes; of what is encoded, that of all that was encoded with it."""
    end: int
    line: int
    """From 1."""
    kind: str
    """The name in `catalog.KINDS`, or UNSEARCHED."""
    digest: str
    """Stands for this secret wherever it is, so that it can be allowed."""
    encodings: tuple[str, ...]
    """What had to be taken off to find it, the outermost first."""


class Hit(NamedTuple):
    """A match with its digest; places are in the outermost bytes."""

    match: Match
    digest: str
    encodings: tuple[str, ...]


class Budget:
    """How many decoded bytes may still be searched."""

    def __init__(self, size: int) -> None:
        self.left = _LEAST_BUDGET + _MAX_GROWTH * size

    def spend(self, size: int) -> bool:
        """Take `size` from it; False if there is not so much left."""
        self.left -= size
        return self.left >= 0


def scan_text(data: bytes | str) -> list[Finding]:
    """Return the secrets in `data`, in their order; see the module's description."""
    data = _encoded(data)
    found: list[Finding] = []
    line, at = 1, 0
    for match, digest, encodings in search(data):
        line += data.count(b"\n", at, match.start)
        at = match.start
        found.append(
            Finding(match.start, match.end, line, match.kind, digest, encodings)
        )
    return found


def redact(text: _Text) -> tuple[_Text, dict[str, int]]:
    """Return `text` with each secret replaced by MASK, and how many of which kind.

    It never gets longer. See the module's description.
    """
    data = _encoded(text)
    counts: Counter[str] = Counter()
    for _ in range(_ROUNDS):
        hits = search(data)
        if not hits:
            break
        counts.update(hit.match.kind for hit in hits)
        data = _without(data, hits)
    else:
        data = MASK.encode()
    if isinstance(text, str):
        return data.decode("utf-8", "surrogatepass"), dict(counts)
    return data, dict(counts)


def _encoded(text: bytes | str) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _without(data: bytes, hits: list[Hit]) -> bytes:
    shown: list[bytes] = []
    at = 0
    for hit in hits:
        start, end = hit.match.start, hit.match.end
        while start and data[start] & 0xC0 == 0x80:  # within a character of UTF-8
            start -= 1
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        shown += [data[at : max(at, start)], MASK.encode()]
        at = max(at, end)
    return b"".join([*shown, data[at:]])


def search(data: bytes, budget: Budget | None = None, depth: int = 0) -> list[Hit]:
    """Return what is found in `data` and below its encodings, in order."""
    budget = budget or Budget(len(data))
    plain = [Hit(one, _digest(data, one), ()) for one in matches(data)]
    inner: list[Hit] = []
    if depth < MAX_DEPTH:
        inner = [*_decoded(data, budget, depth), *_unpacked(data, budget, depth)]
    if not inner:
        return plain
    clear = [hit for hit in plain if hit.match.kind not in _VAGUE]
    vague = [hit for hit in plain if hit.match.kind in _VAGUE]
    return _ordered(clear, inner, vague)


def _ordered(*groups: list[Hit]) -> list[Hit]:
    by_match = {hit.match: hit for group in reversed(groups) for hit in group}
    kept = without_overlaps([hit.match for hit in group] for group in groups)
    return [by_match[match] for match in kept]


def _digest(data: bytes, match: Match) -> str:
    secret = match.kind.encode() + b"\0" + data[match.start : match.end]
    return hashlib.sha256(secret).hexdigest()[:32]


def _decoded(data: bytes, budget: Budget, depth: int) -> Iterator[Hit]:
    for decode in (
        layers.base64_pieces,
        layers.percent_pieces,
        layers.escaped_pieces,
        layers.wide_pieces,
    ):
        pieces = decode(data)
        if not pieces.size:
            continue
        if not budget.spend(pieces.size):
            yield _unsearched(0, len(data), (pieces.encoding,))
            return
        buffer = pieces.joined()
        inner = [
            *search(buffer, budget, depth + 1),
            *_unpacked(buffer, budget, depth + 1, pieces.starts()),
        ]
        for match, digest, encodings in inner:
            start, end = pieces.original(match.start, match.end)
            if end > start:
                outer = Match(start, end, match.kind)
                yield Hit(outer, digest, (pieces.encoding, *encodings))


def _unpacked(
    data: bytes, budget: Budget, depth: int, starts: Iterator[int] | None = None
) -> Iterator[Hit]:
    at = iter((0,)) if starts is None else starts
    for part in layers.unpacked(data, at, max(0, budget.left)):
        whole = budget.spend(len(part.data)) and part.is_whole
        if not whole:
            yield _unsearched(part.start, part.end, ("compressed",))
            continue
        for match, digest, encodings in search(part.data, budget, depth + 1):
            outer = Match(part.start, part.end, match.kind)
            yield Hit(outer, digest, ("compressed", *encodings))


def _unsearched(start: int, end: int, encodings: tuple[str, ...]) -> Hit:
    return Hit(Match(start, end, UNSEARCHED), "", encodings)
