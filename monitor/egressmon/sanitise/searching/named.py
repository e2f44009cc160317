"""Find values whose names say that they are secrets, headers among them.

`NAME: value`, `NAME=value` and their like in JSON, YAML, headers, code and query
strings; names are judged by `secret_names.py`.
"""

import re
from binascii import a2b_base64
from collections.abc import Iterator
from functools import cache
from urllib.parse import unquote

from egressmon.sanitise.catalog.surrounded import (
    API_KEY_HEADER,
    AUTHORIZATION,
    COOKIE,
    NAMED,
    SIGNED_URL,
)
from egressmon.sanitise.searching.found import Match, Sought, every
from egressmon.sanitise.words import secret_names
from egressmon.sanitise.words.secret_names import (
    is_harmless,
    is_key_variable,
    is_secret_name,
    is_stand_in,
    words_of,
)
from egressmon.sanitise.words.written import (
    BEGIN,
    BLANK,
    LONGEST_REST,
    MARK,
    NEWLINE,
    NEXT,
    QUOTE,
    continued,
)

_LONGEST = 8192
_MOST_NAMES = 32
# Behind a part of a name: the rest of the name, what divides, and how the value begins
# (see written.py). Or the value is said to be one: {"name": NAME, "value": …}, as HAR,
# manifests and templates have it; or it is an element's, or a field's of a form.
_BEHIND = re.compile(
    (
        r"(?P<rest>[\w.$-]{0,64}+)(?:"
        r"(?P<divider>[\"'\\\]]{0,9}[ \t]{0,16}(?:=>|:=|==?|:(?!:))[ \t]{0,32})"
        rf"{BEGIN}"
        rf"|(?P<said>(?:{MARK})?{BLANK}{{0,64}},?{BLANK}{{0,64}}(?:{MARK})?[Vv]alue(?:{MARK})?"
        rf"{BLANK}{{0,8}}[:=]{BLANK}{{0,8}}(?:\[{BLANK}{{0,64}}(?={MARK}))?)"
        rf"|(?P<pair>{MARK}{BLANK}{{0,64}},{BLANK}{{0,64}}(?:\[{BLANK}{{0,64}})?(?={MARK}))"
        rf"|(?P<field>{MARK}(?:;[^\r\n\\]{{0,128}})?(?:{NEWLINE}[\w-]{{1,64}}:[^\r\n\\]{{0,256}}){{0,3}}"
        rf"(?P<newline>{NEWLINE}){NEWLINE})"
        r"|(?P<element>(?:\s[^<>]{0,256}+)?>(?:<!\[CDATA\[)?(?=[^<\s\]]{4,512}(?:</|\]\]>)))"
        r"|(?P<option>[ ]{1,4}(?=[^\s-]))"
        rf"){QUOTE}"
    ).encode()
)
_NEXT = re.compile(NEXT.encode())
_MOST_IN_LIST = 64
_NAME_CHARACTERS = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.$-"
)
_BARE = re.compile(
    rb"(?:[^\s&;,\"'`)}\]|<>\\\x00-\x1f]|\\[ !#-&(-/:-@\[\]-`{-~]"
    rb"|,(?![\s\"'\\]|\Z|[\w.-]{1,64}[\"']?[=:])){1,4096}"
)
_FIELD = re.compile(rb"[^\r\n\x00-\x08]{1,8192}+")
_FIELD_IN_TEXT = re.compile(rb"(?:[^\r\n\x00-\x08\\\"]|\\{1,7}[\"/\\](?!n))++")
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
_RESPONSE = re.compile(
    rb"response=\\{0,7}[\"']?(?P<value>[0-9A-Fa-f]{32,128}+)", re.IGNORECASE
)
_BEFORE_RESPONSE = 2048
_HEADER_KEYS = frozenset(
    """x-api-key api-key apikey x-goog-api-key x-auth-token x-auth-key x-access-token
    x-amz-security-token x-csrf-token x-xsrf-token x-vault-token x-gitlab-token
    private-token x-functions-key ocp-apim-subscription-key x-figma-token
    x-shopify-access-token dd-api-key dd-application-key x-honeycomb-team
    x-rapidapi-key x-amz-credential job-token x-session-token""".split()
)
_IDENTIFIER = re.compile(
    r"[A-Za-z_][\w]{0,64}+(?:(?:\.|->|::)[A-Za-z_]\w{0,64}+){0,8}+"
)
_PASSWORDS = ("password", "passwd", "passphrase", "passcode")
_CAMEL = re.compile(
    r"(?:[a-z]{3,}+|[A-Z]{2,6}(?=[A-Z]))?(?:[A-Z][a-z]{2,}+){1,8}|[a-z]+|[A-Z]+"
)
# A cookie's value that is not short, and no attribute of Set-Cookie.
_COOKIE = re.compile(
    r"\s*(?!(?:path|expires|domain|max-age|samesite|priority|version)=)"
    r"[\w!#$%&'*+.^`|~-]{1,128}=(?!\*\*\*)[^\s,]{6,}\s*",
    re.IGNORECASE,
)
# A call, or a type with parameters, in source code.
_CALL = re.compile(r"[A-Za-z_][\w.]{0,64}[\[(].*", re.DOTALL)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_IDENTITIES = frozenset({"id", "ids", "sid", "sessid", "sessionid", "cookie", "auth"})
# Of a variable that is called a key, but may be of a cache or a table.
_KEY = re.compile(
    r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[\w+/=-]*?[A-Za-z0-9]{12}[\w+/=-]*"
)
# As records have it: with a mark that tells different secrets apart.
_MASKED = re.compile(
    r"(?:\*{3}[0-9a-f]{0,8}(?:~[0-9a-f]{8})?…?(?:/.*|[\s:;,/@=&-]{0,4})){1,64}",
    re.DOTALL,
)
_TEMPLATE = re.compile(r"[$%#]?[{<\[(].*|.*\$\{.*|.*\{\{.*", re.DOTALL)


# The shortest parts of names, one of which is in every name that means a secret.
@cache
def _stems() -> tuple[bytes, ...]:
    kept: list[str] = []
    for word in sorted(secret_names.MEANING, key=len):
        if not any(stem in word for stem in kept):
            kept.append(word)
    return tuple(word.encode() for word in kept)


class _Ends:
    """Where values without quotes end: names may stand in values of other names."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._known: dict[re.Pattern[bytes], tuple[int, int, int]] = {}

    def of(self, pattern: re.Pattern[bytes], start: int) -> int:
        """Return where what matches `pattern` from `start` ends.

        It is `start`, as if nothing stood there, for what many names stand before: as
        the value of the first, it has been looked at.
        """
        begin, end, count = self._known.get(pattern, (0, 0, 0))
        if begin <= start < end:
            self._known[pattern] = begin, end, count + 1
            return end if count < _MOST_NAMES else start
        match = pattern.match(self._data, start)
        end = match.end() if match else start
        self._known[pattern] = start, end, 0
        return end


def values(sought: Sought) -> Iterator[Match]:
    """Yield the values of names that mean secrets."""
    data, small = sought.data, sought.small
    for stem in _stems():
        ends = _Ends(data)
        behind = len(stem)
        for at in every(small, stem):
            match = _BEHIND.match(data, at + behind)
            if match is not None:
                yield from _value(data, at, match, ends)
    for at in every(small, b"response="):
        yield from _digest_response(data, at)
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
        shaped = b":" in _decoded(value)
    if shaped and not _is_placeholder(value):
        yield Match(*match.span("value"), AUTHORIZATION.name)


# The answer to a challenge can be tried against guesses (RFC 7616).
def _digest_response(data: bytes, at: int) -> Iterator[Match]:
    match = _RESPONSE.match(data, at)
    if match is None:
        return
    line = data[max(0, at - _BEFORE_RESPONSE) : at].rpartition(b"\n")[2].lower()
    behind = data[match.end() : match.end() + _BEFORE_RESPONSE]
    whole = line + behind.partition(b"\n")[0].lower()
    if b"digest" in line and b"username" in whole:
        yield Match(*match.span("value"), AUTHORIZATION.name)


def _decoded(value: str) -> bytes:
    try:
        return a2b_base64(unquote(value) + "===")
    except ValueError:
        return b""


def _value(
    data: bytes, at: int, match: re.Match[bytes], ends: _Ends
) -> Iterator[Match]:
    start = at
    while start and at - start < 64 and data[start - 1] in _NAME_CHARACTERS:
        start -= 1
    name = data[start : match.end("rest")].decode("latin-1")
    is_named = is_secret_name(name) or name.lower() in _HEADER_KEYS
    if not is_named and not (match["divider"] and is_key_variable(name)):
        return
    kind = _kind(name, data[max(0, start - 5) : start])
    is_option = name[:2] == "--" or _NETRC.search(data, max(0, start - 512), start)
    if match["option"] and (match["quote"] or not is_option):
        return
    if match["pair"] and kind == NAMED.name and not is_option:
        return
    if match["field"] and not _IN_HEADER.search(data, max(0, start - 16), start):
        return
    begin, end = match.end(), _end(data, kind, match, ends)
    if match["field"] and match["quote"]:
        begin = match.start("quote")
    yield from _judged(data, name, kind, match, (begin, end))
    if match["list"] and match["quote"]:
        for place in _others(data, end):
            yield from _judged(data, name, kind, match, place)


def _end(data: bytes, kind: str, match: re.Match[bytes], ends: _Ends) -> int:
    begin = match.end()
    if match["field"]:
        is_raw = match["newline"][:1] != b"\\"
        begin = match.end("field")
        found = (_FIELD if is_raw else _FIELD_IN_TEXT).match(data, begin)
        return found.end() if found else begin
    if match["quote"]:
        return _closed(data, match, begin)
    end = ends.of(_LINE if kind in _LINES else _BARE, begin)
    if end > begin and kind not in _LINES and data[end : end + 1] in _MARKS:
        return end + continued(_rest(data, end), "")
    return end


def _rest(data: bytes, at: int) -> str:
    return data[at : at + LONGEST_REST].decode("latin-1")


def _closed(data: bytes, match: re.Match[bytes], begin: int) -> int:
    quote = match["quote"] + (match["more"] or b"")
    end = _closing(data, begin, quote)
    if data[end : end + len(quote)] != quote:
        return end
    behind = data[end + len(quote) : end + len(quote) + 1]
    if behind in _MARKS or behind.isalnum():
        end += continued(_rest(data, end), quote.decode())
    return end


# The places of the other texts in a list, from where the first ends.
def _others(data: bytes, end: int) -> Iterator[tuple[int, int]]:
    for _ in range(_MOST_IN_LIST):
        found = _NEXT.match(data, end)
        if found is None or not found["quote"]:
            return
        end = _closed(data, found, found.end())
        yield found.end(), end


def _judged(
    data: bytes,
    name: str,
    kind: str,
    match: re.Match[bytes],
    place: tuple[int, int],
) -> Iterator[Match]:
    begin, end = place
    text = _text(data[begin:end])
    if kind == AUTHORIZATION.name and (found := _AUTH.fullmatch(text)):
        begin, text = begin + found.start("credentials"), found["credentials"]
    is_known = is_secret_name(name) or kind != NAMED.name
    if not is_known and not _KEY.fullmatch(text):
        return
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


# Bytes that are no text are no value: a name may stand in them by chance. latin-1 has
# one character for each byte, so that places stay right.
def _text(value: bytes) -> str:
    try:
        is_text = not _CONTROLS.search(value) and bool(value.decode())
    except UnicodeDecodeError:
        is_text = False
    return value.decode("latin-1").rstrip() if is_text else ""


_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
# What stands before a password in a .netrc file.
_NETRC = re.compile(
    rb"(?:login|machine|default|account)\s{1,4}(?:[^\s]{1,256}\s{1,8})?\Z"
)
_LINES = frozenset({AUTHORIZATION.name, COOKIE.name})
_MARKS = frozenset({b'"', b"'", b"\\"})
_IN_HEADER = re.compile(rb"[;\s]name\*?=\\{0,7}[\"']?\Z", re.IGNORECASE)


def _closing(data: bytes, start: int, quote: bytes) -> int:
    end = data.find(quote, start, start + _LONGEST)
    while end > 0 and data[end - 1 : end] == b"\\" and len(quote) == 1:
        end = data.find(quote, end + 1, start + _LONGEST)
    return end if end >= 0 else min(len(data), start + _LONGEST)


def _is_secret(kind: str, name: str, text: str, match: re.Match[bytes]) -> bool:
    if len(text) < 4 or _is_placeholder(text):
        return False
    if is_harmless(name, text) and not text.startswith("***"):
        return False
    if kind == COOKIE.name:
        return any(map(_is_cookie, text.split(";")))
    if kind in {AUTHORIZATION.name, SIGNED_URL.name} or match["pair"]:
        least = 6 if kind == AUTHORIZATION.name else 8
        return len(text) >= least and (kind == SIGNED_URL.name or _is_shaped(text))
    return not _is_about(name, text) and _is_value(name, text, match)


def _is_cookie(text: str) -> bool:
    value = text.partition("=")[2].strip()
    return _COOKIE.fullmatch(text) is not None and not is_stand_in(value)


# Token counts, and signatures that sign no URL: in answers of language models.
def _is_about(name: str, text: str) -> bool:
    small = name.lower()
    return small in {"signature", "sig"} or (text.isdecimal() and "token" in small)


def _is_value(name: str, text: str, match: re.Match[bytes]) -> bool:
    if not match["quote"] and match[0][-1:].isspace() and _CALL.fullmatch(text):
        return False
    is_code = not match["quote"] and _IDENTIFIER.fullmatch(text) is not None
    if is_code and not any(map(str.isdecimal, text)):
        return _is_password(name) and _is_odd(name, text, match)
    if _is_password(name) and not is_code:
        # "forgot_password": "Forgot password?" is a label.
        is_label = " " in text and words_of(name) == words_of(text)
        return text[-1] not in ":," and text.count(" ") <= 3 and not is_label
    return len(text) >= 8 and _is_shaped(text) and not _is_reference(name, text)


# A name of code would be in camel case: password: SecretStr.
def _is_odd(name: str, text: str, match: re.Match[bytes]) -> bool:
    assigned = match[0].endswith(b"=") and not match[0].endswith(b"==")
    return text.isalpha() and text != name and (assigned or not _CAMEL.fullmatch(text))


# Whether the value may be any word.
def _is_password(name: str) -> bool:
    return any(
        word in secret_names.PASSWORDS or word.endswith(_PASSWORDS)
        for word in words_of(name)
    )


def _is_shaped(text: str) -> bool:
    if " " in text:
        return False
    mixed = len(text) >= 16 and not (text.islower() or text.isupper())
    return any(map(str.isdecimal, text)) or (mixed and not _CAMEL.fullmatch(text))


def _is_reference(name: str, text: str) -> bool:
    return _UUID.fullmatch(text) is not None and words_of(name)[-1] in _IDENTITIES


def _is_placeholder(text: str) -> bool:
    return (
        _MASKED.fullmatch(text) is not None
        or is_stand_in(text)
        or _TEMPLATE.fullmatch(text) is not None
    )
