"""Secrets that prove knows itself: what a plan's headers take from its environment.

No rule has to recognise them: they are masked as they are, and as programs write them.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import TypeVar
from urllib.parse import quote, quote_plus

from egressmon.sanitise.counting import MASK
from egressmon.text import escape

SHORTEST = 6
"""Of a shorter text, every other line of a log has a copy."""
_LEAST_BASE64 = 8
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_ESCAPED = re.compile("%[0-9A-F]{2}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31} +(?P<rest>\S.*)", re.DOTALL)

_Text = TypeVar("_Text", str, bytes)


class KnownSecrets:
    """Texts that must be in no file of a proof, and in nothing that is printed."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Of a value such as `Bearer ...`, what is behind the word is one, too."""
        texts = {part for value in values for part in _parts(value)}
        forms = {form for text in texts for form in _forms(text)}
        self._forms = sorted(forms, key=len, reverse=True)
        listed = b"|".join(map(re.escape, self._forms))
        self._pattern = re.compile(listed) if listed else None

    def masked(self, text: _Text) -> _Text:
        """Return `text` with each of them masked."""
        if self._pattern is None:
            return text
        if isinstance(text, bytes):
            return self._pattern.sub(MASK.encode(), text)
        data = text.encode("utf-8", "surrogatepass")
        return self._pattern.sub(MASK.encode(), data).decode("utf-8", "surrogatepass")

    def masked_beginning(self, data: bytes) -> bytes:
        """Return `data`, which goes on elsewhere: its end may be a part of one."""
        data = self.masked(data)
        cut = max((_cut_at_end(data, one) for one in self._forms), default=0)
        return data[: len(data) - cut] + MASK.encode() if cut else data

    def lines_of(self, data: bytes) -> Iterator[int]:
        """Yield the lines of `data`, from 0, in which one is."""
        line = at = 0
        for match in self._pattern.finditer(data) if self._pattern else ():
            line += data.count(b"\n", at, match.start())
            at = match.start()
            yield line


def _parts(value: str) -> Iterator[str]:
    yield value
    if (found := _SCHEME.fullmatch(value)) is not None:
        yield found["rest"]


# As it is sent, and as JSON, Python, URLs and base64 have it.
def _forms(text: str) -> Iterator[bytes]:
    if len(text) < SHORTEST:
        return
    raw = text.encode("utf-8", "surrogatepass")
    yield raw
    for plain in {raw, text.encode("latin-1", "ignore")}:
        if len(plain) < SHORTEST:
            continue
        yield plain
        yield base64.b64encode(plain).rstrip(b"=")
        yield base64.urlsafe_b64encode(plain).rstrip(b"=")
        yield from _inside_base64(plain)
        yield repr(plain)[2:-1].encode()
        for quoted in (quote(plain, ""), quote(plain), quote_plus(plain)):
            yield quoted.encode()
            yield _ESCAPED.sub(lambda found: found[0].lower(), quoted).encode()
    for form in _written(text):
        yield form.encode("utf-8", "surrogatepass")


# Whether or not what stands before it is a multiple of three bytes: of `user:SECRET`,
# the letters that are the secret's alone.
def _inside_base64(plain: bytes) -> Iterator[bytes]:
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + plain)
        whole = encoded[(0, 2, 3)[before] : -4 if len(plain) + before % 3 else None]
        if len(whole) >= _LEAST_BASE64:
            yield whole
            yield whole.translate(_URL_SAFE)


# As evidence has a text, as Python and HTML write it, and as JSON has each of these,
# once or inside another.
def _written(text: str) -> Iterator[str]:
    for one in {text, escape(text), repr(text)[1:-1], html.escape(text)}:
        yield one
        for is_ascii in (True, False):
            once = json.dumps(one, ensure_ascii=is_ascii)[1:-1]
            yield once
            yield once.replace("/", "\\/")
            yield _of_html(once, "<>&")
            yield _of_html(once, "<>&'")
            yield json.dumps(once, ensure_ascii=is_ascii)[1:-1]


# As servers put JSON into pages.
def _of_html(text: str, escaped: str) -> str:
    return "".join(f"\\u{ord(one):04x}" if one in escaped else one for one in text)


def _cut_at_end(data: bytes, form: bytes) -> int:
    longest = min(len(form) - 1, len(data))
    fits = (size for size in range(longest, 0, -1) if data.endswith(form[:size]))
    return next(fits, 0)
