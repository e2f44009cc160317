"""Mask tokens whose issuers gave them a recognisable shape, anywhere in a text.

Searches take linear time: each alternative begins with a literal, its body is matched
possessively, and only from the beginning of a run of characters.
"""

import re
from functools import cache

from egressmon.sanitise.catalog import (
    PRIVATE_KEY,
    TELEGRAM_ADDRESS,
    TOKENS,
    WEB_HOOK,
    Kind,
)

_SHORTEST = 14
_PARTED = {f"k{index}": kind for index, kind in enumerate(TOKENS) if kind.parted}
_WHOLE = {f"k{index}": kind for index, kind in enumerate(TOKENS) if not kind.parted}


def alternatives(kinds: dict[str, Kind]) -> str:
    """Return a pattern that matches each of `kinds`, and names which one it was."""
    return "|".join(f"(?P<{name}>{kind.pattern})" for name, kind in kinds.items())


# Compiling takes 3 ms, so it waits for the first text that can hold a token.
@cache
def _starting() -> re.Pattern[str]:
    return re.compile(f"(?<![A-Za-z0-9])(?:{alternatives(_WHOLE)})")


# They match only from the beginning of a run.
_PARTS = re.compile(rf"(?<![\w-])(?:{alternatives(_PARTED)})")
_VAULT = re.compile(r"(?<![\w.-])([sbr])\.([A-Za-z0-9]{24})(?![\w.-])")
_HOOKS = re.compile(WEB_HOOK.pattern)
_TELEGRAM = re.compile(TELEGRAM_ADDRESS)
_PEM = re.compile(PRIVATE_KEY.pattern)
# Tokens in host names. Shapes that are short, or like words, are left out.
_IN_NAME = re.compile(
    r"(?<![a-z0-9])(?:"
    + "|".join(kind.in_name for kind in TOKENS if kind.in_name)
    + ")",
    re.IGNORECASE,
)


def mask_tokens(text: str, mask: str) -> str:
    """Return `text` with each known token replaced by `mask`."""
    if len(text) < _SHORTEST:
        return text
    text = _without_pem(text, mask)
    if "telegram.org/" in text:
        text = _TELEGRAM.sub(rf"\g<before>{mask}", text)
    if ".com/" in text:
        text = _HOOKS.sub(rf"\g<before>{mask}", text)
    text = _PARTS.sub(mask, text)
    text = _VAULT.sub(lambda match: _vault(match, mask), text)
    return _starting().sub(mask, text)


def _vault(match: re.Match[str], mask: str) -> str:
    body = match[2]
    mixed = not body.islower() and not body.isalpha()
    return mask if mixed else match[0]


# Mask private keys and PGP messages, to their end or to the end of the text.
def _without_pem(text: str, mask: str) -> str:
    if "-----BEGIN" not in text:
        return text
    shown: list[str] = []
    at = 0
    while match := _PEM.search(text, at):
        shown += [text[at : match.start()], mask]
        end = text.find("-----END", match.end())
        if end < 0:
            return "".join(shown)
        closing = text.find("-----", end + 8)
        at = len(text) if closing < 0 else closing + 5
    return "".join([*shown, text[at:]])


def tokens_in_name(name: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each token in the host name `name`."""
    return [match.span() for match in _IN_NAME.finditer(name)]
