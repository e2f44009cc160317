"""Mask what is recorded until a search of the record finds nothing in it.

`words/text.py` and `commands/` mask in doubt, by names, shapes and what programs take;
a search (`redaction.py`) also takes encodings off. What it would still find is masked
here, so that it cannot find what was left: in each word, and in a command as it is
written, since a name in one word may speak of the next.
"""

import json
import re
from itertools import accumulate

from egressmon.sanitise.catalog.surrounded import RANDOM_BASE64, RANDOM_HEX
from egressmon.sanitise.counting import MASK, hidden
from egressmon.sanitise.redaction import Budget, Hit, search, taken_out
from egressmon.sanitise.words.text import cut, mask_place, mask_text

_VAGUE = frozenset({RANDOM_BASE64.name, RANDOM_HEX.name})
_NONE: frozenset[str] = frozenset()
# Who runs commands must not decide how long their words are unpacked: what unpacks to
# more is masked.
_MOST_DECODED = 256 << 10
_ROUNDS = 8
# Written in JSON, such a word is the same.
_PLAIN = re.compile(r"[ !#-\[\]-~]*+")
# A word without anything that a shell takes away.
_SIMPLE = re.compile(r"[\w./:=,@+-]*+")


def sanitise_text(text: str) -> str:
    """Return `text` with everything that looks like a secret masked."""
    return _settled(mask_text(text), _NONE)


def sanitise_place(text: str) -> str:
    """Return `text`, a path or a test's id, with known kinds of secrets masked.

    Random words are not masked: in paths they are mostly digests.
    """
    return _settled(mask_place(text), _VAGUE)


def settled_texts(words: list[str]) -> list[str]:
    """Return the `words` of a command without what a search finds in texts among them.

    A shell takes quotes and backslashes away, which say where a value ends: so it is
    searched for before the command is read as a shell's.
    """
    return [
        word if _SIMPLE.fullmatch(word) else _settled(cut(word), _NONE)
        for word in words
    ]


def settled_words(words: list[str]) -> list[str]:
    """Return the masked `words` of a command without what a search would find."""
    shown = [
        word if _PLAIN.fullmatch(word) else _settled(word, _NONE) for word in words
    ]
    for _ in range(_ROUNDS):
        texts = [json.dumps(word, ensure_ascii=False)[1:-1] for word in shown]
        hits = _hits(
            ('["' + '", "'.join(texts) + '"]').encode("utf-8", "surrogatepass")
        )
        if not hits:
            return shown
        shown = _without(shown, texts, hits)
    return [word if word in words[:1] else MASK for word in shown]


def _hits(data: bytes) -> list[Hit]:
    return search(data, Budget(0, _MOST_DECODED))


# Each hit is in one word, or in several.
def _without(words: list[str], texts: list[str], hits: list[Hit]) -> list[str]:
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    begins = list(accumulate((len(part) + 4 for part in parts), initial=2))
    shown: list[str] = []
    rest = hits
    for word, part, begin in zip(words, parts, begins, strict=False):
        end = begin + len(part)
        rest = [hit for hit in rest if hit.match.end > begin]
        own = [hit for hit in rest if hit.match.start < end]
        shown.append(_one_without(part, begin, own) if own else word)
    return shown


def _one_without(part: bytes, begin: int, hits: list[Hit]) -> str:
    kept: list[bytes] = []
    at = 0
    for hit in hits:
        start = max(at, min(hit.match.start - begin, len(part)))
        kept += [part[at:start], hidden(hit.match.kind).encode()]
        at = max(at, min(hit.match.end - begin, len(part)))
    try:
        text = b"".join([*kept, part[at:]]).decode("utf-8", "surrogatepass")
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return MASK


def _settled(text: str, left: frozenset[str]) -> str:
    data = text.encode("utf-8", "surrogatepass")
    taken, counts = taken_out(data, Budget(0, _MOST_DECODED), left)
    if not counts:
        return text
    for kind, count in counts.items():
        for _ in range(count):
            hidden(kind)
    return taken.decode("utf-8", "surrogatepass")
