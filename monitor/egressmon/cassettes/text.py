"""Take secrets out of one text: what the catalog finds, and what this machine knows."""

import os
import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote

from egressmon.sanitise.counting import MASK
from egressmon.sanitise.redaction import redact
from egressmon.sanitise.secret_names import is_harmless, is_secret_name

_Text = TypeVar("_Text", str, bytes)
_SHORTEST = 8
_LONGEST = 8192
_RATE = re.compile(r"rate-?limit", re.IGNORECASE)


def clean(text: _Text) -> _Text:
    """Return `text` without secrets; text stays text, and bytes stay bytes.

    Besides what the catalog knows, the values of this process's own variables that are
    named like secrets are taken out, wherever they are: a server may send back, under
    any name, what it was sent.
    """
    if isinstance(text, bytes):
        for value in _known():
            text = text.replace(value, MASK.encode())
        return redact(text)[0]
    for value in _known():
        text = text.replace(value.decode("utf-8", "surrogateescape"), MASK)
    return redact(text)[0]


def is_secret(name: str, value: str) -> bool:
    """Tell whether the `value` of what is called `name` is a secret."""
    if _RATE.search(name) or not is_secret_name(name):
        return False
    return not is_harmless(name, value)


# The longest first: one may be part of another.
def _known() -> list[bytes]:
    found = {form for value in _values(os.environ) for form in (value, quote(value))}
    return sorted((os.fsencode(one) for one in found), key=len, reverse=True)


def _values(variables: Mapping[str, str]) -> list[str]:
    return [
        value
        for name, value in variables.items()
        if is_secret(name, value) and _is_telling(value)
    ]


# A password that is a word, as in a database for tests, would take that word from all
# texts.
def _is_telling(value: str) -> bool:
    if not _SHORTEST <= len(value) <= _LONGEST or MASK in value:
        return False
    return any(map(str.isdecimal, value)) or not (value.islower() or value.istitle())
