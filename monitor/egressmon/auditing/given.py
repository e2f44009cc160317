"""Which destinations a command itself names, such as a browser's page."""

import ipaddress
import re
from collections.abc import Iterable

from egressmon.policy.language.names import canonical

_MAX_WORD = 4096
_MAX_GIVEN = 256
_ADDRESS_6 = re.compile(r"\[([0-9a-fA-F:.]{2,45})\]")
_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+\.?")


def given(words: Iterable[str]) -> frozenset[str]:
    """Return the names and addresses in `words`, of each 4096 characters: 256 at most.

    A name has a dot: `http://api.example/x` names `api.example`, and so would a file of
    that name. IPv6 addresses are in brackets.
    """
    found: dict[str, None] = {}
    for word in words:
        text = word[:_MAX_WORD]
        found |= dict.fromkeys(canonical(one) for one in _HOST.findall(text))
        found |= dict.fromkeys(map(_shortest, _ADDRESS_6.findall(text)))
    return frozenset([*found][:_MAX_GIVEN])


def _shortest(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text
