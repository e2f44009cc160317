"""Mask one value, by the kind that table.py gives it."""

import re

from egressmon.recent import Recent
from egressmon.sanitise.catalog.surrounded import ARGUMENT, COOKIE, NAMED
from egressmon.sanitise.counting import hidden
from egressmon.sanitise.words.secret_names import (
    is_harmless,
    is_no_value,
    is_secret_name,
)
from egressmon.sanitise.words.text import cut, mask_text

_NUMBERS = re.compile(r"\d+:\d+")
_ORACLE = re.compile(r"(?P<user>[^/@\s]+)/(?P<secret>[^\s]+?)(?P<db>@[^@\s]*)?")
_WHOLE = re.compile(r"(?P<name>[\w.$/:@+-]{1,256}+)=(?P<value>.+)", re.DOTALL)
_MAX_REMEMBERED = 8192
_MAX_WORD = 256

# Words without secrets, to save work. A word with a secret must not stay in memory.
harmless = Recent[str, bool](_MAX_REMEMBERED)


def masked(kind: str, value: str) -> str:
    """Return `value` with those parts masked that are a secret in this `kind`."""
    return _KINDS.get(kind, masked_word)(value)


def _secret(value: str) -> str:
    return value if value == "-" or is_no_value(value) else hidden(ARGUMENT.name)


def _userpass(value: str) -> str:
    parted = any(mark in value for mark in ":%,")
    return (
        hidden(ARGUMENT.name)
        if parted and not _NUMBERS.fullmatch(value)
        else _text(value)
    )


def _pair(value: str) -> str:
    name, equals, _ = value.partition("=")
    return f"{name}={hidden(ARGUMENT.name)}" if equals else _text(value)


def _cookie(value: str) -> str:
    return hidden(COOKIE.name) if "=" in value else value


def _certificate(value: str) -> str:
    file, colon, _ = value.partition(":")
    return f"{file}:{hidden(ARGUMENT.name)}" if colon else value


def _source(value: str) -> str:
    kind, colon, _ = value.partition(":")
    secret = colon and kind in {"pass", "key", "hexkey"}
    return f"{kind}:{hidden(ARGUMENT.name)}" if secret else _text(value)


def _manifest(value: str) -> str:
    return hidden(ARGUMENT.name) if "stringData" in value else _text(value)


def _oracle(value: str) -> str:
    found = _ORACLE.fullmatch(cut(value))
    if found is None:
        return masked_word(value)
    return f"{found['user']}/{hidden(ARGUMENT.name)}{found['db'] or ''}"


def masked_by_name(name: str, value: str) -> str:
    """Return the masked `value` of an option or variable with a secret's `name`."""
    return _text(value) if is_harmless(name, value) else hidden(NAMED.name)


def masked_word(word: str) -> str:
    """Return `word` with secrets masked; in NAME=VALUE, all of a secret's VALUE."""
    if harmless.get(word):
        return word
    found = _WHOLE.match(word)
    if found is not None and "://" not in found["name"]:
        name = re.split(r"[/:@]", found["name"])[-1]
        if name.startswith(("-D", "-P")):  # a property: -Dapi.key=
            name = name[2:]
        if is_secret_name(name) and not is_harmless(name, found["value"]):
            return f"{found['name']}={hidden(NAMED.name)}"
    return _text(word)


def _text(word: str) -> str:
    if harmless.get(word):
        return word
    shown = mask_text(word)
    if shown == word and len(word) <= _MAX_WORD:
        harmless.put(word, True)
    return shown


_KINDS = {
    "secret": _secret,
    "userpass": _userpass,
    "pair": _pair,
    "cookie": _cookie,
    "cert": _certificate,
    "source": _source,
    "oracle": _oracle,
    "manifest": _manifest,
    "plain": _text,
}
