"""Find secrets in bytes as they are: their places and kinds, by the catalog.

Recordings are large, so nothing looks at each byte in Python. `bytes.find` looks for
the few bytes that every secret of a kind has (`catalog.Kind.marks`, parts of names,
`://`), and only there the patterns are tried. What is encoded is for `layers.py`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import NamedTuple

from egressmon.sanitise.catalog import Kind
from egressmon.sanitise.catalog.surrounded import (
    PRIVATE_KEY,
    TELEGRAM_ADDRESS,
    URL_CREDENTIALS,
    WEB_HOOK,
)
from egressmon.sanitise.catalog.tokens import TOKENS
from egressmon.sanitise.searching import arguments, named, runs
from egressmon.sanitise.searching.found import Match, Run, Sought, every, regions
from egressmon.sanitise.words.secret_names import is_no_value, is_stand_in
from egressmon.sanitise.words.tokens import alternatives
from egressmon.sanitise.words.urls import userinfo

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
_EXAMPLES = frozenset({"pass", "password", "passwd"})
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]{0,30}\Z")
_REST = re.compile(rb"[^\s\"'<>`\\\x00-\x1f]{1,512}")
_DSN = re.compile(
    rb"(?<![^\s=,\"'`])[^\s/:@=,\"'`]{1,64}:(?P<secret>[^\s\"'`]{1,256})\Z"
)


class _Tokens(NamedTuple):
    kinds: dict[str, Kind]
    at: re.Pattern[bytes]
    """Matches a token from its beginning."""
    ends: tuple[re.Pattern[bytes], ...]
    """Find the last character of those marks that end with a rare one."""
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
    return _Tokens(
        kinds,
        re.compile((_BOUNDARY + f"(?:{alternatives(kinds)})").encode()),
        tuple(_ending(end, marks) for end, marks in ends.items()),
        tuple(finds),
    )


# Most of these characters end no mark; the character before each says so at once.
def _ending(end: str, marks: list[str]) -> re.Pattern[bytes]:
    before = "".join({mark[-2] for mark in marks})
    any_of = "|".join(f"(?<={re.escape(mark)})" for mark in marks)
    end = re.escape(end)
    return re.compile(f"{end}(?<=[{before}]{end})(?:{any_of})".encode())


@cache
def _inner() -> tuple[tuple[Kind, re.Pattern[bytes]], ...]:
    return tuple(
        (kind, re.compile((_BOUNDARY + kind.pattern).encode()))
        for kind in TOKENS
        if kind.inside
    )


def matches(data: bytes, runs: list[Run]) -> list[Match]:
    """Return the secrets in `data`, in their order; no two overlap.

    `runs` are those of `runs.all_runs`. Where two kinds claim the same bytes, the one
    that says more of them is taken.
    """
    sought = Sought(data, data.lower(), runs)
    return without_overlaps([finder(sought) for finder in _FINDERS])


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


def _tokens(sought: Sought) -> Iterator[Match]:
    data = sought.data
    tokens = _tokens_by_mark()
    for ends in tokens.ends:
        until = 0  # what was found is not looked at again
        for hit in ends.finditer(data):
            if hit.start() >= until and (match := _around(tokens, data, hit.start())):
                until = match.end
                yield match
    for mark in tokens.finds:
        until = 0
        for at in every(data, mark):
            if at >= until and (match := _token_at(tokens, data, at)):
                until = match.end
                yield match


# The mark that ends at `end` is at most 14 characters long.
def _around(tokens: _Tokens, data: bytes, end: int) -> Match | None:
    starts = range(max(0, end - 15), end)
    found = (_token_at(tokens, data, start) for start in starts)
    return next(filter(None, found), None)


def _token_at(tokens: _Tokens, data: bytes, start: int) -> Match | None:
    match = tokens.at.match(data, start, start + _LONGEST_TOKEN)
    # AWS ends the keys of its documentation so.
    if match is None or match[0].endswith(b"7EXAMPLE"):
        return None
    return _of_token(tokens, match)


def _of_token(tokens: _Tokens, match: re.Match[bytes]) -> Match:
    return Match(match.start(), match.end(), tokens.kinds[match.lastgroup or ""].name)


# Tokens whose mark stands inside.
def _inner_tokens(sought: Sought) -> Iterator[Match]:
    data = sought.data
    for kind, pattern in _inner():
        for mark in kind.marks.encode().split():
            hits = every(data, mark)
            for start, end in regions(len(data), hits, kind.inside, _LONGEST_TOKEN):
                for match in pattern.finditer(data, start, end):
                    yield Match(match.start(), match.end(), kind.name)


def _private_keys(sought: Sought) -> Iterator[Match]:
    data = sought.data
    until = 0
    for at in every(data, _PEM_MARK):
        if at >= until and (match := _PEM_BODY.match(data, at)):
            until = match.end()
            yield Match(at, match.end(), PRIVATE_KEY.name)


def _web_hooks(sought: Sought) -> Iterator[Match]:
    data = sought.data
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


# Where schemes end and what follows begins; JSON may escape the slashes.
def _authorities(data: bytes) -> Iterator[tuple[int, int]]:
    for mark in (b"://", b":\\/\\/"):
        for at in every(data, mark):
            yield at, at + len(mark)


def _urls(sought: Sought) -> Iterator[Match]:
    data = sought.data
    for at, begin in _authorities(data):
        rest = _REST.match(data, begin)
        if rest is None or b"@" not in rest[0]:
            continue
        scheme = _SCHEME.search(data, max(0, at - 31), at)
        text = rest[0].decode("latin-1")
        length = userinfo(scheme[0].decode().lower(), text) if scheme else 0
        if length and _is_credential(text[:length]):
            yield Match(begin, begin + length, URL_CREDENTIALS.name)
    for mark in (b"@tcp(", b"@unix("):
        for at in every(data, mark):
            match = _DSN.search(data, max(0, at - 330), at)
            if match and not is_no_value(match["secret"].decode("latin-1")):
                yield Match(*match.span("secret"), URL_CREDENTIALS.name)


def _is_credential(user: str) -> bool:
    name, colon, secret = user.partition(":")
    if colon:
        secret = secret or name
        if is_no_value(secret) or is_stand_in(secret):
            return False
        return secret not in _EXAMPLES and "{" not in secret
    # A lone name that is long, and no word, is a token.
    return len(user) >= 16 and not user.islower() and not is_no_value(user)


_Finder = Callable[[Sought], Iterator[Match]]
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
