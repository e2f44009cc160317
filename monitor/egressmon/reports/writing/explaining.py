"""Texts for people that quote what others chose, such as names: no token is in them."""

from egressmon.sanitise.words.tokens import mask_tokens
from egressmon.text import printable

_LONGEST = 2000


def explanation(error: object, hint: str) -> str:
    """Return the two lines that tell of `error`, each a line whatever it quotes."""
    return f"error: {safe(error)}\nhint: {safe(hint)}\n"


def safe(text: object, limit: int = _LONGEST) -> str:
    """Return `text` as one line (see `printable`), with tokens masked."""
    return printable(mask_tokens(str(text)), limit)
