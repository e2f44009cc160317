"""Say in a log where something wanted to go, without what its host name carries."""

from egressmon.sanitise.words.text import mask_text
from egressmon.sanitise.words.tokens import tokens_in_name
from egressmon.text import printable


def told(text: str, limit: int = 200) -> str:
    """Return `text`, which has host names, as one line of at most `limit` characters.

    Secrets are masked, and tokens in host names, as evidence has them.
    """
    for start, end in reversed(tokens_in_name(text)):
        text = f"{text[:start]}***{text[end:]}"
    return printable(mask_text(text), limit)
