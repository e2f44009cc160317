"""Mask secrets in a text of unknown grammar: code, JSON, URLs, headers.

All patterns take linear time: a run of characters can match only from its beginning and
is matched possessively, and what follows it is bounded.
"""

import re

from egressmon.sanitise.catalog.surrounded import AUTHORIZATION, COOKIE, NAMED
from egressmon.sanitise.counting import MASK, hidden
from egressmon.sanitise.words.randomness import mask_random
from egressmon.sanitise.words.secret_names import (
    is_harmless,
    is_password,
    is_secret_name,
    words_of,
)
from egressmon.sanitise.words.tokens import mask_tokens
from egressmon.sanitise.words.urls import mask_urls
from egressmon.sanitise.words.written import (
    BEGIN,
    LONGEST_REST,
    MARK,
    QUOTE,
    continued,
    whole,
)

MAX_TEXT = 4096
"""How many characters of a word are searched and kept; the rest is left out."""

_NAMED = re.compile(
    r"(?<![\w.$-])(?P<name>[\w.$-]++)(?P<gap>[\"'\\]{0,9}(?:[ \t]{0,8}"
    r"(?P<divider>=>|:=|==?|:(?!:))|[\]}][ \t]{0,8}==?)[ \t]{0,8})" + BEGIN + QUOTE
)
# A value without quotes ends at a blank or a mark; at a comma only if another name
# follows. (No group is repeated possessively: see shell.py.)
_BARE = re.compile(
    r"\([^()]*+\)?|(?:[^\s&;,\"'`)}\]|]|,(?![\s\"']|\Z|[\w.-]{1,64}[=:]))+"
)
# No value, but what stands before one that has an encoding more.
_BEFORE = re.compile(r"(?:[\[({<>|&!*-]|\\{1,7}[nrt\"']?)*")
_BRACES = re.compile(r"\{[^{}]*+\}?")
_BRACKETS = {"[": "]", "(": ")"}
_LINE = re.compile(r"[^\r\n]*+")
_MARK = re.compile(rf"{MARK}\Z")
_SCHEME = re.compile(
    r"(?<![\w.-])(?P<scheme>bearer|basic|token|apikey)[ \t]{1,4}"
    r"(?P<value>[\w.~+/=-]{6,}+)",
    re.IGNORECASE,
)
# The password in an SQL statement.
_SQL = re.compile(
    r"\b(?P<before>(?:identified[ \t]{1,4}(?:(?:with|via)[ \t]{1,4}[\"'`]?\w{1,64}+"
    r"[\"'`]?[ \t]{1,4})?(?:by|as|using)[ \t]{1,4}|(?:password|passwd)(?:[ \t]{1,4}|"
    r"[ \t]{0,4}\([ \t]{0,4}))\\?[\"'])[^\"'\\]*+",
    re.IGNORECASE,
)
# A password in a .netrc file (GNU Inetutils): words, which may be on several lines.
_NETRC = re.compile(
    r"(?P<before>(?:\b(?:machine\s{1,4}[^\s]{1,256}+|default)\s{1,8}|(?<=\n)[ \t]{0,8})"
    r"(?:login\s{1,4}[^\s]{1,256}+\s{1,8}|account\s{1,4}[^\s]{1,256}+\s{1,8}){0,2}"
    r"(?<=\s)password\s{1,4})(?![\s$=:])[^\s\"']++"
)
# The arguments of auth() in MongoDB and others.
_AUTH = re.compile(r"(?<=\.auth\()[^()]++")
_HEADERS = {"authorization": AUTHORIZATION.name, "cookie": COOKIE.name}


def cut(text: str) -> str:
    """Return `text` if it is short; else its beginning, up to the end of a word."""
    if len(text) <= MAX_TEXT:
        return text
    kept = text[:MAX_TEXT]
    # Half a token might not be recognised, so the last run of characters is dropped.
    end = max(map(kept.rfind, " \t\n\"'&;,<>()[]{}|"))
    return (kept[: end + 1] if end >= 0 else "") + MASK + "…"


def mask_text(text: str) -> str:
    """Return `text` with what looks like a secret masked; see `settled.py`."""
    return mask_random(mask_known(text))


def mask_place(text: str) -> str:
    """Return `text`, a path, with known kinds of secrets masked; see `settled.py`."""
    text = mask_urls(cut(text))
    if "/" not in text:
        return mask_known(text)
    # NAME=VALUE in a path ends at the next slash.
    masked = "/".join(mask_known(part) for part in text.split("/"))
    return mask_tokens(masked)


def mask_known(text: str) -> str:
    """Return `text` with secrets masked that have a name or a known shape."""
    text = cut(text)
    if "-----BEGIN" in text:
        text = mask_tokens(text)
    text = mask_urls(text)
    if "'" in text or '"' in text:
        text = _SQL.sub(_behind, text)
        text = _AUTH.sub(lambda _: hidden(NAMED.name), text)
    if "=" in text or ":" in text:
        text = _mask_named(text)
    text = _SCHEME.sub(_masked_scheme, text)
    if "login" in text or "machine" in text:
        text = _NETRC.sub(_behind, text)
    return mask_tokens(text)


def _behind(match: re.Match[str]) -> str:
    return match["before"] + hidden(NAMED.name)


def _kind_of(name: str) -> str:
    last = words_of(name)[-1]
    return _HEADERS.get(last, NAMED.name)


def _mask_named(text: str) -> str:
    shown: list[str] = []
    at = 0
    while match := _NAMED.search(text, at):
        start, end = match.end(), match.end()
        if is_secret_name(match["name"]) and not text.startswith("//", start):
            end = _value_end(text, match)
        value = text[start:end]
        is_value = end > start and not _BEFORE.fullmatch(value)
        if is_value and not _is_prose(match, value):
            if match["list"]:
                start = match.end("list")
            shown += [text[at:start], hidden(_kind_of(match["name"]))]
            at = end
            continue
        shown.append(text[at : match.end("gap")])
        at = match.end("gap")
    return "".join([*shown, text[at:]])


# "auth: rotate the keys" is prose. A password can be any word, so it never is.
def _is_prose(match: re.Match[str], value: str) -> bool:
    sentence = match["divider"] == ":" and value.isalpha() and value.islower()
    if sentence and not is_password(match["name"]):
        return True
    return is_harmless(match["name"], value)


# The offset at which the value behind `match` ends.
def _value_end(text: str, match: re.Match[str]) -> int:
    start = match.end()
    if match["list"]:  # all that is in it
        end = text.find(_BRACKETS[match["list"]], start)
        return end if end >= 0 else len(text)
    if match["quote"]:
        quote = whole(match["quote"], match["more"])
        end = _closing(text, start, quote)
        return end + continued(text[end : end + LONGEST_REST], quote)
    words = words_of(match["name"])
    if words[-1] in _HEADERS:
        if before := _MARK.search(text, max(0, match.start() - 8), match.start()):
            return _closing(text, start, before[0])
        line = _LINE.match(text, start)
        return line.end() if line else start
    bare = _BRACES.match(text, start) or _BARE.match(text, start)
    end = bare.end() if bare else start
    return end + continued(text[end : end + LONGEST_REST], "")


# The offset of the closing `quote` that is not escaped; else the end of the text.
def _closing(text: str, start: int, quote: str) -> int:
    at = start
    while (found := text.find(quote, at)) >= 0:
        if len(quote) > 1 or found == start or text[found - 1] != "\\":
            return found
        at = found + 1
    return len(text)


def _masked_scheme(match: re.Match[str]) -> str:
    value = match["value"]
    letters = value.isalpha() and (value.islower() or value.istitle())
    scheme = match["scheme"].lower()
    if scheme == "bearer":
        harmless = letters and len(value) <= 16
    elif scheme == "basic":
        harmless = letters or len(value) < 8 or "-" in value.strip("-")
    else:
        harmless = len(value) < 16 or not any(map(str.isdecimal, value))
    return match[0] if harmless else f"{match['scheme']} {hidden(AUTHORIZATION.name)}"
