r"""How values are written behind their names: one grammar for masking and for search.

What masks (`text.py`) and what searches (`named.py`) have to agree on where a value
begins and ends: where they do not, a mask stands before a secret that stays. So both
take it from here, for text and for bytes.

A value may have a prefix (`b"…"`, `$'…'`, `!!str …`, `&anchor …`), may stand on the
next line (`>-`, `- …`, `:` and a newline), in several quotes (three, doubled ones as in
CSV, `\\\"` in JSON in JSON), and go on behind them (`'hun''ter'`, `"hun"ter`).
"""

import re

BLANK = r"(?:\s|\\{1,7}[rnt])"
"""A blank, or one as strings have it."""
NEWLINE = r"(?:\r?\n|(?:\\{1,7}r)?\\{1,7}n)"
MARK = r"\\{0,7}[\"']"
_INSIDE = r"[^\s,;:)}\]\\\"']"  # no end of what is in quotes
_PREFIX = (
    r"(?:(?:[rRbBfFuUTLNExX]|[bBfF][rR]|[rR][bBfF]|u8|\$@?|@\$?)#{0,4}"
    rf"(?={MARK}))?"
)
# All of it may be missing, so that nothing is tried a second time for what follows.
BEGIN = (
    # YAML's tags and anchors
    rf"(?:[!&][^\s\"'\\,\[\]{{}}=&!][^\s\"'\\,\[\]{{}}=&]{{0,64}}{BLANK}{{1,64}}"
    rf"|!{{2}}[^\s\"'\\,\[\]{{}}=&]{{1,64}}{BLANK}{{1,64}}){{0,2}}"
    # a list's first, a block, or what is on the next line
    rf"(?:{BLANK}{{0,64}}(?P<list>[\[(]){BLANK}{{0,64}}(?=[bBrRfFuU]{{0,2}}{MARK})"
    rf"|{BLANK}{{0,64}}-[ ]{{1,4}}(?=\S)"
    rf"|[|>][+-]?[1-9]?[+-]?{BLANK}{{1,64}}"
    rf"|{BLANK}{{0,64}}(?={MARK}))?"
    rf"{_PREFIX}"
    # half a mask, as of older records
    rf"(?:\*{{3}}(?={MARK}{_INSIDE}))?"
)
"""What may stand between the divider behind a name and a value, or its quote."""
QUOTE = rf"(?:(?P<quote>{MARK})(?P<more>(?P=quote){{2}}|(?P=quote)(?={_INSIDE}))?)?"
NEXT = rf"{MARK}{BLANK}{{0,64}},{BLANK}{{0,64}}{_PREFIX}{QUOTE}"
"""What divides the texts of a list."""
# Other texts that are joined to one by a shell, a compiler, or as quotes are doubled.
_OPENING = re.compile(
    r"(?:\\')?(?P<quote>\\{0,7}[\"'])\w[\w!#$%*+./:=?@^~-]{0,255}(?P=quote)"
)
_BEHIND = re.compile(r"\w[\w!#$%*+/?@^~.-]{0,255}")
LONGEST_REST = 1024
"""How much is looked at behind the first part of a value."""
_MOST_PARTS = 8


def continued(rest: str, quote: str) -> int:
    """Return how long a value goes on in `rest`, which begins where it seems to end.

    There stands its closing `quote`, if it has one.
    """
    at, end = len(quote), 0
    for _ in range(_MOST_PARTS):
        if found := _OPENING.match(rest, at):
            at = found.end()
            end = at - len(found["quote"])
        elif at and (found := _BEHIND.match(rest, at)):
            at = end = found.end()
        else:
            break
    return end


def whole(quote: str | None, more: str | None) -> str:
    """Return the mark that closes what `quote`, once or several times, opens."""
    return (quote or "") + (more or "")
