"""Search a recording for secrets, or take them out: for bodies, headers, logs, files.

`scan_text` and `redact` are one engine: `redact` replaces what `scan_text` finds until
it finds nothing. So what `redact` returned is clean for `scan_text` (and for
`egressmon scan`), and redacting it again changes nothing. What counts as a secret is
in `catalog/`; `searching/layers.py` takes off base64, percent-encoding, escapes,
entities, Markdown's backslashes, UTF-16, gzip and zlib, to a depth of MAX_DEPTH.

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
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from egressmon.sanitise.catalog.surrounded import RANDOM_BASE64, RANDOM_HEX
from egressmon.sanitise.counting import MASK
from egressmon.sanitise.searching import layers
from egressmon.sanitise.searching.found import Match, Run
from egressmon.sanitise.searching.matches import matches
from egressmon.sanitise.searching.runs import all_runs

MAX_DEPTH = 5
"""How many encodings inside each other are taken off."""
UNSEARCHED = "unsearched"
"""The kind of what could not be searched to its end, as it unpacks to too much."""
_LEAST_BUDGET = 64 << 20
_MAX_GROWTH = 100
_ROUNDS = 16
VAGUE = frozenset({RANDOM_BASE64.name, RANDOM_HEX.name})
"""The kinds of what only looks random."""

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

    def __init__(self, size: int, least: int | None = None) -> None:
        least = _LEAST_BUDGET if least is None else least
        self.left = least + _MAX_GROWTH * size

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
    data, counts = taken_out(_encoded(text))
    if isinstance(text, str):
        return data.decode("utf-8", "surrogatepass"), counts
    return data, counts


def taken_out(
    data: bytes, budget: Budget | None = None, left: frozenset[str] = frozenset()
) -> tuple[bytes, dict[str, int]]:
    """Do as `redact` does, within a `budget`; kinds that are `left`, stay."""
    counts: Counter[str] = Counter()
    for _ in range(_ROUNDS):
        hits = [hit for hit in search(data, budget) if hit.match.kind not in left]
        if not hits:
            return data, dict(counts)
        counts.update(hit.match.kind for hit in hits)
        data = without(data, hits)
    return MASK.encode(), dict(counts)


def _encoded(text: bytes | str) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def without(data: bytes, hits: list[Hit]) -> bytes:
    """Return `data` with MASK in the place of each of `hits`."""
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


def search(
    data: bytes,
    budget: Budget | None = None,
    depth: int = 0,
    bounds: layers.Bounds | None = None,
) -> list[Hit]:
    """Return what is found in `data` and below its encodings, in order.

    `bounds` say which parts of it belong together, if it is not one.
    """
    budget = budget or Budget(len(data))
    bounds = [(0, len(data))] if bounds is None else bounds
    runs = list(all_runs(data))
    plain = [Hit(one, _digest(data, one), ()) for one in matches(data, runs)]
    inner: list[Hit] = []
    if depth == MAX_DEPTH and data.startswith(layers.GZIP):
        inner.append(_unsearched(0, len(data), ("compressed",)))
    if depth < MAX_DEPTH:
        inner += _decoded(data, runs, budget, depth)
        inner += _unpacked(data, bounds, budget, depth)
    return _ordered(plain, inner) if inner else plain


# All that was decoded is kept, as its place may be that of other secrets, too. Left out
# is what was found there without decoding, and what only looks random and is encoded.
def _ordered(plain: list[Hit], inner: list[Hit]) -> list[Hit]:
    ends = [hit.match.end for hit in plain]  # in order, as no two overlap
    inner.sort(key=lambda hit: len(hit.encodings))
    once = {(hit.match, hit.digest): hit for hit in reversed(inner)}
    kept = [hit for hit in once.values() if not _is_among(hit, plain, ends)]
    starts = sorted((hit.match.start, hit.match.end) for hit in kept)
    clear = [hit for hit in plain if not _is_decoded(hit, starts)]
    return sorted([*clear, *kept], key=lambda hit: hit.match)


def _is_among(hit: Hit, plain: list[Hit], ends: list[int]) -> bool:
    if hit.encodings[-1] not in layers.IN_PLACE:
        return False
    at = bisect_right(ends, hit.match.start)
    near = plain[at].match if at < len(plain) else None
    return (
        near is not None and near.start < hit.match.end and near.kind == hit.match.kind
    )


def _is_decoded(hit: Hit, places: list[tuple[int, int]]) -> bool:
    if hit.match.kind not in VAGUE:
        return False
    at = bisect_right(places, (hit.match.end, 0))
    return any(end > hit.match.start for _, end in places[max(0, at - 64) : at])


def _digest(data: bytes, match: Match) -> str:
    secret = match.kind.encode() + b"\0" + data[match.start : match.end]
    return hashlib.sha256(secret).hexdigest()[:32]


def _decoded(data: bytes, runs: list[Run], budget: Budget, depth: int) -> Iterator[Hit]:
    for pieces in layers.all_pieces(data, runs):
        if not pieces.size:
            continue
        if not budget.spend(pieces.size):
            yield _unsearched(0, len(data), (pieces.encoding,))
            return
        buffer = pieces.joined()
        inner = search(buffer, budget, depth + 1, pieces.bounds())
        for match, digest, encodings in inner:
            start, end = pieces.original(match.start, match.end)
            # Only a part of what is compressed may be here: it is unpacked by itself.
            is_part = match.kind == UNSEARCHED and layers.GZIP in data[start:end]
            if end > start and not is_part:
                outer = Match(start, end, match.kind)
                yield Hit(outer, digest, (pieces.encoding, *encodings))


def _unpacked(
    data: bytes, bounds: layers.Bounds, budget: Budget, depth: int
) -> Iterator[Hit]:
    for part in layers.unpacked(data, bounds, max(0, budget.left)):
        if not (budget.spend(len(part.data)) and part.is_whole):
            yield _unsearched(part.start, part.end, ("compressed",))
        for match, digest, encodings in search(part.data, budget, depth + 1):
            outer = Match(part.start, part.end, match.kind)
            yield Hit(outer, digest, ("compressed", *encodings))


def _unsearched(start: int, end: int, encodings: tuple[str, ...]) -> Hit:
    return Hit(Match(start, end, UNSEARCHED), "", encodings)
