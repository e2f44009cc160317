"""Find secrets in bytes as they are: their places and kinds, by the catalog.

Recordings are large, so nothing looks at each byte in Python. `bytes.find` looks for
the few bytes that every secret of a kind has (`catalog.Kind.marks`, parts of names,
`://`), and only there the patterns are tried. What is encoded is for `layers.py`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import NamedTuple

from egressmon.sanitise import arguments, named, runs
from egressmon.sanitise.catalog import (
    PRIVATE_KEY,
    TELEGRAM_ADDRESS,
    TOKENS,
    URL_CREDENTIALS,
    WEB_HOOK,
    Kind,
)
from egressmon.sanitise.found import Match, every
from egressmon.sanitise.secret_names import is_no_value
from egressmon.sanitise.tokens import alternatives
from egressmon.sanitise.urls import userinfo

_LONGEST_TOKEN = 8192
# A token begins where no word is under way; but the letter of an escape (\n), and
# the digits of one (%20, \u0022), are no word.
_BOUNDARY = (
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf0])|(?<=%[0-9A-Fa-f]{2})"
    r"|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9A-Fa-f]{2}))"
)
_PEM_BODY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}(?:PRIVATE KEY|PGP MESSAGE)[A-Z ]{0,12}-----"
    rb"(?=[\s\\nr\"',+]{0,64}[A-Za-z0-9+/=:-]{16})"
    rb"(?:(?!-----END)[\w\s+/=:,.;()@\\\"'#<>*-]){16,16384}+(?:-----END[^-]{0,64}-----)?"
)
_PEM_MARK = PRIVATE_KEY.marks.encode()
_HOOKS = re.compile(WEB_HOOK.pattern.encode())
_TELEGRAM = re.compile(TELEGRAM_ADDRESS.encode() + rb"(?=[/\s?#\"']|\Z)")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]{0,30}\Z")
_REST = re.compile(rb"[^\s\"'<>`\\\x00-\x1f]{1,512}")
_DSN = re.compile(
    rb"(?<![^\s=,\"'`])[^\s/:@=,\"'`]{1,64}:(?P<secret>[^\s\"'`]{1,256})\Z"
)


class _Tokens(NamedTuple):
    kinds: dict[str, Kind]
    at: re.Pattern[bytes]
    """Matches a token from its beginning."""
    ends: re.Pattern[bytes]
    """Finds the last character of those marks that end with a rare one."""
    finds: tuple[bytes, ...]
    """The other marks."""


@cache
def _tokens_by_mark() -> _Tokens:
    kinds = {f"k{index}": kind for index, kind in enumerate(TOKENS) if not kind.inside}
    ends: dict[str, list[str]] = {}
    finds: list[bytes] = []
    for kind in kinds.values():
        for mark in kind.marks.split():
            if mark[-1] in "_-.":
                ends.setdefault(mark[-1], []).append(mark)
            else:
                finds.append(mark.encode())
    rows = (
        re.escape(end) + "(?:" + "|".join(f"(?<={re.escape(m)})" for m in marks) + ")"
        for end, marks in ends.items()
    )
    return _Tokens(
        kinds,
        re.compile((_BOUNDARY + f"(?:{alternatives(kinds)})").encode()),
        re.compile("|".join(rows).encode()),
        tuple(finds),
    )


@cache
def _inner() -> tuple[tuple[Kind, re.Pattern[bytes]], ...]:
    return tuple(
        (kind, re.compile((_BOUNDARY + kind.pattern).encode()))
        for kind in TOKENS
        if kind.inside
    )


def matches(data: bytes) -> list[Match]:
    """Return the secrets in `data`, in their order; no two overlap.

    Where two kinds claim the same bytes, the one that says more of them is taken.
    """
    small = data.lower()
    return without_overlaps([finder(data, small) for finder in _FINDERS])


def without_overlaps(groups: Iterable[Iterable[Match]]) -> list[Match]:
    """Return the matches of all `groups` in their order; no two overlap.

    Of those that do, that of an earlier group is taken; in one group, the longer one of
    those that begin first.
    """
    ranked = [(rank, match) for rank, group in enumerate(groups) for match in group]
    ranked.sort(key=lambda one: (one[1].start, one[0], -one[1].end))
    kept: list[tuple[int, Match]] = []
    for rank, match in ranked:
        if not kept or match.start >= kept[-1][1].end:
            kept.append((rank, match))
        elif rank < kept[-1][0]:
            kept[-1] = rank, match
    return [match for _, match in kept]


def _tokens(data: bytes, _: bytes) -> Iterator[Match]:
    tokens = _tokens_by_mark()
    starts = [hit.start() for hit in tokens.ends.finditer(data)]
    for start in starts:
        yield from _token_around(tokens, data, start)
    for mark in tokens.finds:
        for at in every(data, mark):
            yield from _token_at(tokens, data, at)


# The mark that ends at `end` is at most 14 characters long.
def _token_around(tokens: _Tokens, data: bytes, end: int) -> Iterator[Match]:
    for start in range(max(0, end - 15), end):
        if match := tokens.at.match(data, start, start + _LONGEST_TOKEN):
            yield _of_token(tokens, match)
            return


def _token_at(tokens: _Tokens, data: bytes, start: int) -> Iterator[Match]:
    if match := tokens.at.match(data, start, start + _LONGEST_TOKEN):
        yield _of_token(tokens, match)


def _of_token(tokens: _Tokens, match: re.Match[bytes]) -> Match:
    return Match(match.start(), match.end(), tokens.kinds[match.lastgroup or ""].name)


# Tokens whose mark stands inside.
def _inner_tokens(data: bytes, _: bytes) -> Iterator[Match]:
    for kind, pattern in _inner():
        for mark in kind.marks.encode().split():
            for at in every(data, mark):
                begin = max(0, at - kind.inside)
                match = pattern.search(data, begin, at + _LONGEST_TOKEN)
                if match and match.start() <= at:
                    yield Match(match.start(), match.end(), kind.name)


def _private_keys(data: bytes, _: bytes) -> Iterator[Match]:
    for at in every(data, _PEM_MARK):
        if match := _PEM_BODY.match(data, at):
            yield Match(at, match.end(), PRIVATE_KEY.name)


def _web_hooks(data: bytes, _: bytes) -> Iterator[Match]:
    for mark in WEB_HOOK.marks.encode().split():
        for at in every(data, mark):
            match = _HOOKS.search(data, max(0, at - 64), at + 2048)
            if match and not match["secret"].startswith(b"***"):
                yield Match(*match.span("secret"), WEB_HOOK.name)
    for at in every(data, b"telegram.org/"):
        if match := _TELEGRAM.match(data, at):
            end = match.end("before")
            if match.end() - end > 20:
                yield Match(end, match.end(), WEB_HOOK.name)


def _urls(data: bytes, _: bytes) -> Iterator[Match]:
    for at in every(data, b"://"):
        rest = _REST.match(data, at + 3)
        if rest is None or b"@" not in rest[0]:
            continue
        scheme = _SCHEME.search(data, max(0, at - 31), at)
        text = rest[0].decode("latin-1")
        length = userinfo(scheme[0].decode().lower(), text) if scheme else 0
        if length and _is_credential(text[:length]):
            yield Match(at + 3, at + 3 + length, URL_CREDENTIALS.name)
    for mark in (b"@tcp(", b"@unix("):
        for at in every(data, mark):
            match = _DSN.search(data, max(0, at - 330), at)
            if match and not is_no_value(match["secret"].decode("latin-1")):
                yield Match(*match.span("secret"), URL_CREDENTIALS.name)


def _is_credential(user: str) -> bool:
    name, colon, secret = user.partition(":")
    if colon:
        return not is_no_value(secret or name) and "{" not in secret
    # A lone name that is long, and no word, is a token.
    return len(user) >= 16 and not user.islower() and not is_no_value(user)


_Finder = Callable[[bytes, bytes], Iterator[Match]]
# Those that say most of what they find come first.
_FINDERS: tuple[_Finder, ...] = (
    _private_keys,
    _tokens,
    _inner_tokens,
    _web_hooks,
    _urls,
    named.values,
    runs.random_words,
    arguments.in_commands,
)
