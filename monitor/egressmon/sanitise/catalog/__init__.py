"""The catalog of secrets: every kind that is masked in records or found by `scan`.

There is no second list. What masks records (`words/`, `commands/`) and what searches
recordings (`searching/`) take their patterns from here.

A pattern has to take linear time: it begins with a literal, its body is matched
possessively, and the rest is bounded. It must not need more than ASCII, as it is
compiled for text and for bytes. `shape` is a test vector without a secret in it: the
tests put random characters in place of `{w36}` (36 letters and digits), `{h}`
(hexadecimal), `{A}` (capitals and digits), `{u}` (base64url), `{b}` (base64), `{d}`
(digits) and `{p}` (a password).
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of secret."""

    name: str
    about: str
    source: str
    """Who says so: documentation of the issuer, or a standard."""
    pattern: str = ""
    """Of a token that is recognised alone. Other kinds need what stands around them."""
    marks: str = ""
    """Literals, one of which is at the beginning of every such token."""
    shape: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    """What looks alike and must stay."""
    inside: int = 0
    """How many characters may stand before a mark, if not none."""
    in_name: str = ""
    """As it appears in host names, which have neither underscores nor case."""
    parted: bool = False
    """Of several parts: it is looked for only where a run of characters begins."""
