"""Take secrets out of one text: what the catalog finds, and what this machine knows."""

import json
import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TypeVar
from urllib.parse import quote, quote_plus, unquote

from egressmon.sanitise.counting import MASK
from egressmon.sanitise.redaction import redact
from egressmon.sanitise.words.secret_names import (
    is_harmless,
    is_no_value,
    is_secret_name,
)

_Text = TypeVar("_Text", str, bytes)
_SHORTEST = 8
_LONGEST = 8192
_ROUNDS = 8
# Codes that stand for a password once, whatever their length.
_CODES = frozenset(
    """device_code devicecode otp otp_code totp totp_code mfa_code verification_code
    code_verifier authorization_code auth_code""".split()
)
_USERINFO = re.compile(r"://[^\s/?#@:]{0,256}:(?P<password>[^\s/?#@]{1,1024})@")
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


def settled(cleaning: Callable[[_Text], _Text], text: _Text, otherwise: _Text) -> _Text:
    """Return what `cleaning` makes of `text` when it has nothing more to do.

    If it always has, return what there is `otherwise`.

    A mask can make of what was no form, say, one in which there is more to be masked.
    """
    for _ in range(_ROUNDS):
        before, text = text, cleaning(text)
        if text == before:
            return text
    return otherwise


def is_secret(name: str, value: str) -> bool:
    """Tell whether the `value` of what is called `name` is a secret."""
    if name.lower() in _CODES:
        return not is_no_value(value)
    if _RATE.search(name) or not is_secret_name(name):
        return False
    return not is_harmless(name, value)


def _known() -> list[bytes]:
    return _forms(tuple(_values(os.environ)))


# The longest first: one may be part of another.
@lru_cache(maxsize=2)
def _forms(values: tuple[str, ...]) -> list[bytes]:
    found = {form for value in values for form in _forms_of(value)}
    return sorted(found, key=len, reverse=True)


def _forms_of(value: str) -> Iterator[bytes]:
    data = os.fsencode(value)
    yield data
    as_json = json.dumps(value)[1:-1]
    yield from (as_json.encode(), as_json.replace("/", "\\/").encode())
    yield from (
        one.encode() for one in (quote(data), quote(data, ""), quote_plus(data))
    )
    # In base64, what stands before it decides which of three texts it becomes; the
    # characters at its ends hold bits of what is beside it.
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            text = encode(bytes(before) + data)
            yield text[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


def _values(variables: Mapping[str, str]) -> list[str]:
    found = (part for name, value in variables.items() for part in _parts(name, value))
    return list(filter(_is_telling, found))


# A value as it is, and what of it is sent: without the blanks around it, each of its
# lines, the password in an address.
def _parts(name: str, value: str) -> Iterator[str]:
    if is_secret(name, value):
        yield value
        for line in value.splitlines():
            if not line.lstrip().startswith("-----"):
                yield line.strip()
    for found in _USERINFO.finditer(value[:_LONGEST]):
        yield from {found["password"], unquote(found["password"])}


# A password that is a word, as in a database for tests, would take that word from all
# texts.
def _is_telling(value: str) -> bool:
    if not _SHORTEST <= len(value) <= _LONGEST or MASK in value:
        return False
    return any(map(str.isdecimal, value)) or not (value.islower() or value.istitle())
