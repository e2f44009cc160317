"""Mask tokens whose issuers gave them a recognisable shape, anywhere in a text.

Searches take linear time: each alternative begins with a literal, its body is matched
possessively, and only from the beginning of a run of characters.
"""

import re
from functools import cache

from egressmon.sanitise.catalog import Kind
from egressmon.sanitise.catalog.surrounded import (
    PRIVATE_KEY,
    TELEGRAM_ADDRESS,
    WEB_HOOK,
)
from egressmon.sanitise.catalog.tokens import TOKENS
from egressmon.sanitise.counting import hidden

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


def mask_tokens(text: str) -> str:
    """Return `text` with each known token masked."""
    if len(text) < _SHORTEST:
        return text
    text = _without_pem(text)
    if "telegram.org/" in text:
        text = _TELEGRAM.sub(_hook, text)
    if ".com/" in text:
        text = _HOOKS.sub(_hook, text)
    text = _PARTS.sub(_parted, text)
    text = _VAULT.sub(_vault, text)
    return _starting().sub(_whole, text)


def _hook(match: re.Match[str]) -> str:
    return match["before"] + hidden(WEB_HOOK.name)


def _parted(match: re.Match[str]) -> str:
    return hidden(_PARTED[match.lastgroup or ""].name)


def _whole(match: re.Match[str]) -> str:
    return hidden(_WHOLE[match.lastgroup or ""].name)


def _vault(match: re.Match[str]) -> str:
    body = match[2]
    mixed = not body.islower() and not body.isalpha()
    return hidden("vault-token") if mixed else match[0]


# Mask private keys and PGP messages, to their end or to the end of the text.
def _without_pem(text: str) -> str:
    if "-----BEGIN" not in text:
        return text
    shown: list[str] = []
    at = 0
    while match := _PEM.search(text, at):
        shown += [text[at : match.start()], hidden(PRIVATE_KEY.name)]
        end = text.find("-----END", match.end())
        if end < 0:
            return "".join(shown)
        closing = text.find("-----", end + 8)
        at = len(text) if closing < 0 else closing + 5
    return "".join([*shown, text[at:]])


def tokens_in_name(name: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each token in the host name `name`."""
    return [match.span() for match in _IN_NAME.finditer(name)]
