"""Tell random words, such as keys without a known shape, from words that people wrote.

A random word changes between capitals, small letters and digits about every second
character; names, versions, paths and camel case do not. Hexadecimal numbers (digests,
commits, UUIDs) are not masked: they are useful evidence, and a hexadecimal key mostly
belongs to an option or a name that says that it is one.
"""

import re
from itertools import pairwise
from operator import ne

from egressmon.sanitise.catalog.surrounded import RANDOM_BASE64
from egressmon.sanitise.counting import hidden

_CLASSES = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    "A" * 26 + "a" * 26 + "0" * 10,
)
_RUN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{16,}+")
# Words with the marks of base64 must be longer, as names have such marks, too.
_MARKED = re.compile(r"(?<![\w+/=.-])[A-Za-z0-9+/_-]{32,}+={0,2}(?![\w+/.-])")
_HEX = re.compile(r"(?:0x)?(?:[0-9a-f]+|[0-9A-F]+)")
_MARKS = re.compile(r"[+/_-]")
# Random, but no secrets: digests (subresource integrity, fingerprints of SSH keys,
# go.sum), public keys (RFC 4253), and embedded pictures, sounds and fonts.
_KNOWN = re.compile(
    r"((?<![A-Za-z0-9])(?:sha(?:1|256|384|512)-|md5-|SHA256:|h1:)[A-Za-z0-9+/=]{20,}+"
    r"|AAAA(?:[BC]3NzaC1|E2VjZHNh|GnNr|InNr)[A-Za-z0-9+/=]*+"
    r"|data:(?:image|font|audio|video)/[\w.+-]*+;base64,[A-Za-z0-9+/=_-]*+)"
)


def is_random(word: str, *, alone: bool) -> bool:
    """Tell whether `word`, of letters and digits, is random.

    `alone`: it is not part of a path or a name. Package managers often make such parts
    from small letters and digits.
    """
    size = len(word)
    if size < 16 or _HEX.fullmatch(word) or len(set(word)) < 10:
        return False
    classes = word.translate(_CLASSES)
    changes = _changes(classes)
    kinds = len(set(classes))
    if kinds == 3:
        return changes >= (0.5 if size < 20 else 0.42 if size < 32 else 0.36)
    if "0" not in classes:
        # It needs more pairs of capitals, and more changes, than camel case has.
        pairs = sum(one == two == "A" for one, two in pairwise(classes))
        return size >= 32 and changes >= 0.4 and pairs >= 0.15 * size
    return alone and kinds == 2 and size >= 28 and changes >= 0.3


# The share of neighbouring characters that differ in class (capital, small, digit).
def _changes(classes: str) -> float:
    changes: int = sum(map(ne, classes, classes[1:]))
    return changes / (len(classes) - 1)


def is_random_key(word: str) -> bool:
    """Tell whether `word`, of base64's characters, looks like a key."""
    bare = _MARKS.sub("", word.rstrip("="))
    if len(bare) < 30 or len(set(bare)) < 16 or word.startswith("/"):
        return False
    if len(bare) == len(word.rstrip("=")):
        return is_random(bare, alone=False)
    classes = bare.translate(_CLASSES)
    return len(set(classes)) == 3 and _changes(classes) >= 0.5


def mask_random(text: str) -> str:
    """Return `text` with random words masked."""
    if len(text) < 16:
        return text
    pieces = _KNOWN.split(text)
    pieces[::2] = [_masked(piece) for piece in pieces[::2]]
    return "".join(pieces)


def _masked(text: str) -> str:
    text = _MARKED.sub(lambda match: _marked(match[0]), text)
    return _RUN.sub(_run, text)


def _marked(word: str) -> str:
    if word.startswith(("/", "-")):
        return word
    bare = _MARKS.sub("", word.rstrip("="))
    if len(bare) < 30 or len(set(bare)) < 16 or _HEX.fullmatch(bare):
        return word
    classes = bare.translate(_CLASSES)
    changes = _changes(classes)
    random = len(set(classes)) == 3 and changes >= 0.5
    return hidden(RANDOM_BASE64.name) if random else word


def _run(match: re.Match[str]) -> str:
    word, text = match[0], match.string
    before = text[max(0, match.start() - 1) : match.start()]
    after = text[match.end() : match.end() + 1]
    alone = not before or before not in "/.-_"
    alone = alone and (not after or after not in "/.-_")
    return hidden(RANDOM_BASE64.name) if is_random(word, alone=alone) else word
