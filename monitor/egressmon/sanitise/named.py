"""Find values whose names say that they are secrets, headers among them.

`NAME: value`, `NAME=value` and their like in JSON, YAML, headers, code and query
strings; names are judged by `secret_names.py`.
"""

import re
from collections.abc import Iterator
from functools import cache

from egressmon.sanitise import secret_names
from egressmon.sanitise.catalog import (
    API_KEY_HEADER,
    AUTHORIZATION,
    COOKIE,
    NAMED,
    SIGNED_URL,
)
from egressmon.sanitise.found import Match, every
from egressmon.sanitise.secret_names import is_harmless, is_password, is_secret_name

_LONGEST = 8192
# Behind a part of a name: the rest of the name, what divides, and how the value begins.
# The value may stand on the next line as the first of a list (YAML), or as a block.
_BEHIND = re.compile(
    rb"(?P<rest>[\w.$-]{0,64}+)(?:"
    rb"(?P<divider>[\"'\\\]]{0,9}[ \t]{0,16}(?:=>|:=|==?|:(?!:)))"
    rb"(?:\s{0,64}\[\s{0,64}(?=[\"'\\])|\s{0,64}-[ ]{1,4}(?=\S)"
    rb"|[ \t]{0,8}[|>][+-]?\s{1,64}"
    rb"|\s{0,64}(?=\\{0,7}[\"'])|[ \t]{0,32})"
    rb"|(?P<pair>\\{0,7}[\"']\s{0,64},\s{0,64}(?:\\{0,7}[\"']value\\{0,7}[\"']\s{0,8}:"
    rb"\s{0,8})?(?:\[\s{0,64})?(?=\\{0,7}[\"']))"
    rb"|(?P<option>[ ]{1,4}(?=[^\s-]))"
    rb"|(?P<element>>(?=[^<\s]{4,512}</))"
    rb")(?P<quote>\\{0,7}[\"'])?"
)
_NAME_CHARACTERS = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.$-"
)
_BARE = re.compile(rb"[^\s&;,\"'`)}\]|<>\\\x00-\x08]{1,4096}+")
_LINE = re.compile(rb"[^\r\n\"'\\\x00-\x08]{1,8192}+")
_AUTH = re.compile(
    r"(?:(?:bearer|basic|token|apikey|digest|negotiate|aws4-hmac-sha256|key|sso-key|"
    r"jwt|oauth|dpop|hawk|ntlm|splunk|genie[k]ey)[ \t]{1,4})?(?P<credentials>.*)",
    re.IGNORECASE | re.DOTALL,
)
_SCHEME = re.compile(
    rb"(?P<scheme>bearer|basic)(?:[ \t]{1,4}|%20|\+)(?P<value>[\w.~+/=%-]{6,8192}+)",
    re.IGNORECASE,
)
_HEADER_KEYS = frozenset(
    """x-api-key api-key apikey x-goog-api-key x-auth-token x-auth-key x-access-token
    x-amz-security-token x-csrf-token x-xsrf-token x-vault-token x-gitlab-token
    private-token x-functions-key ocp-apim-subscription-key x-figma-token
    x-shopify-access-token dd-api-key dd-application-key x-honeycomb-team
    x-rapidapi-key x-amz-credential job-token x-session-token""".split()
)
_PLACEHOLDER = re.compile(
    r"[\W_xX]*+|(?:\W{0,3}(?:your|redacted|filtered|masked|hidden|removed|scrubbed|"
    r"saniti[sz]ed|placeholder|dummy|fake|example|changeme|change[_-]me|xxx+|omitted|"
    r"secret|none|null|n/a|deleted|stripped|insert|replace)(?:[\W_]{0,2}[A-Za-z]{1,16}){0,6}"
    r"[\W_]{0,3})",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(
    r"[A-Za-z_][\w]{0,64}+(?:(?:\.|->|::)[A-Za-z_]\w{0,64}+){0,8}+"
)
_CAMEL = re.compile(r"[a-z]*(?:[A-Z]{1,4}[a-z]+){0,8}|[A-Z]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TEMPLATE = re.compile(r"[$%#]?[{<\[(].*|.*\$\{.*|.*\{\{.*", re.DOTALL)


# The shortest parts of names, one of which is in every name that means a secret.
@cache
def _stems() -> tuple[bytes, ...]:
    kept: list[str] = []
    for word in sorted(secret_names.MEANING, key=len):
        if not any(stem in word for stem in kept):
            kept.append(word)
    return tuple(word.encode() for word in kept)


def values(data: bytes, small: bytes) -> Iterator[Match]:
    """Yield the values of secrets' names in `data`; `small` is it in small letters."""
    for stem in _stems():
        behind = len(stem)
        for at in every(small, stem):
            match = _BEHIND.match(data, at + behind)
            if match is not None:
                yield from _value(data, at, match)
    for scheme in (b"bearer", b"basic"):
        for at in every(small, scheme):
            yield from _credentials(data, at)


def _credentials(data: bytes, at: int) -> Iterator[Match]:
    match = _SCHEME.match(data, at)
    if match is None:
        return
    value = match["value"].decode("latin-1")
    shaped = any(map(str.isdecimal, value)) or not (value.islower() or value.istitle())
    if match["scheme"].lower() == b"basic":
        shaped = shaped and len(value) >= 8 and "-" not in value
    if shaped and not _is_placeholder(value):
        yield Match(*match.span("value"), AUTHORIZATION.name)


def _value(data: bytes, at: int, match: re.Match[bytes]) -> Iterator[Match]:
    start = at
    while start and at - start < 64 and data[start - 1] in _NAME_CHARACTERS:
        start -= 1
    name = data[start : match.end("rest")].decode("latin-1")
    if not is_secret_name(name) and name.lower() not in _HEADER_KEYS:
        return
    kind = _kind(name, data[max(0, start - 5) : start])
    is_option = name[:2] == "--"
    if match["option"] and (match["quote"] or not is_option):
        return
    if match["pair"] and kind == NAMED.name and not is_option:
        return
    begin = match.end()
    end = _end(data, begin, match["quote"], whole_line=kind in _LINES)
    text = data[begin:end].decode("latin-1").rstrip()
    if kind == AUTHORIZATION.name and (found := _AUTH.fullmatch(text)):
        begin, text = begin + found.start("credentials"), found["credentials"]
    if _is_secret(kind, name, text, match):
        yield Match(begin, begin + len(text), kind)


def _kind(name: str, before: bytes) -> str:
    small = name.lower().lstrip("-")
    if small.endswith("authorization"):
        return AUTHORIZATION.name
    if small in {"cookie", "set-cookie", "cookies", "set-cookie2"}:
        return COOKIE.name
    if before[-1:] in {b"?", b"&"} or before.endswith((b"&amp;", b"u0026")):
        return SIGNED_URL.name
    return API_KEY_HEADER.name if small in _HEADER_KEYS else NAMED.name


_LINES = frozenset({AUTHORIZATION.name, COOKIE.name})


def _end(data: bytes, start: int, quote: bytes | None, *, whole_line: bool) -> int:
    if quote:
        end = data.find(quote, start, start + _LONGEST)
        while end > 0 and data[end - 1 : end] == b"\\" and len(quote) == 1:
            end = data.find(quote, end + 1, start + _LONGEST)
        return end if end >= 0 else min(len(data), start + _LONGEST)
    bare = (_LINE if whole_line else _BARE).match(data, start)
    return bare.end() if bare else start


def _is_secret(kind: str, name: str, text: str, match: re.Match[bytes]) -> bool:
    if len(text) < 4 or _is_placeholder(text) or is_harmless(name, text):
        return False
    if kind == COOKIE.name:
        return "=" in text and not _all_masked(text)
    if kind in {AUTHORIZATION.name, SIGNED_URL.name} or match["pair"]:
        least = 6 if kind == AUTHORIZATION.name else 8
        return len(text) >= least and (kind == SIGNED_URL.name or _is_shaped(text))
    return not _is_about(name, text) and _is_value(name, text, match)


# Token counts, and signatures that sign no URL: in answers of language models.
def _is_about(name: str, text: str) -> bool:
    small = name.lower()
    return small in {"signature", "sig"} or (text.isdecimal() and "token" in small)


def _is_value(name: str, text: str, match: re.Match[bytes]) -> bool:
    is_code = not match["quote"] and _IDENTIFIER.fullmatch(text) is not None
    if is_code and not any(map(str.isdecimal, text)):
        return is_password(name) and _is_odd(text, match)
    if is_password(name) and not is_code:
        return text[-1] not in ":," and text.count(" ") <= 3
    return len(text) >= 8 and _is_shaped(text) and not _is_reference(name, text)


# A name of code would be in camel case: password: SecretStr.
def _is_odd(text: str, match: re.Match[bytes]) -> bool:
    assigned = match["divider"] is not None and b"=" in match["divider"]
    return text.isalpha() and (assigned or _CAMEL.fullmatch(text) is None)


def _all_masked(text: str) -> bool:
    values = (part.partition("=")[2] for part in text.split(";") if "=" in part)
    return all(value.startswith("***") for value in values)


def _is_shaped(text: str) -> bool:
    return any(map(str.isdecimal, text)) and " " not in text


def _is_reference(name: str, text: str) -> bool:
    return _UUID.fullmatch(text) is not None and "key" not in name.lower()


def _is_placeholder(text: str) -> bool:
    if "***" in text:
        return True
    return (
        _PLACEHOLDER.fullmatch(text[:256]) is not None
        or _TEMPLATE.fullmatch(text) is not None
    )
