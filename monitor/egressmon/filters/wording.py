"""Texts of the policy inside a filter's own language: bounded, and escaped at one gate.

No text can end its comment: it holds no line break, no quotation mark and no control
character.
"""

from egressmon.filters.model import Rule
from egressmon.text import printable

MAX_COMMENT = 127
"""Bytes of a comment that nft(8) takes: NFTNL_UDATA_COMMENT_MAXLEN, and a NUL."""
_MAX_LINE = 400


def quoted(text: str) -> str:
    """Return `text` in quotation marks, as a comment that nft takes.

    The language has no escapes: quotation marks inside become single ones.
    """
    shown = printable(text, MAX_COMMENT).replace('"', "'")
    data = shown.encode("utf-8", "replace")
    if len(data) > MAX_COMMENT:
        data = (
            data[: MAX_COMMENT - 3].decode("utf-8", "ignore").encode() + b"\xe2\x80\xa6"
        )
    return f'"{data.decode()}"'


def line(text: str) -> str:
    """Return `text` as a comment that ends with the line, as nft and pf have them.

    A backslash at the end would continue it in the next line.
    """
    return f"# {printable(text, _MAX_LINE)}".rstrip("\\ ") + "\n"


def described(rule: Rule) -> str:
    """Return what the comment on the filter's rule says of the policy's `rule`."""
    described = f"{rule.name} {rule.target}"
    return f"{described}: {rule.reason}" if rule.reason else described
