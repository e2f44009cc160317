"""Fit text into a terminal: no line is longer than it is wide, and nothing is lost."""

from collections.abc import Iterator

from rich.cells import cell_len

_STOPS = frozenset("/:,;.=-_)]&?@")
"""After these characters a long word may be broken."""
_WIDENING = "\ufe0f"

# This loads rich's tables of widths now: when it is asked later, the agent may have no
# right to read them.
cell_len(_WIDENING)


def fold(text: str, width: int) -> list[str]:
    """Return `text` in lines of at most `width` cells; joined, they are `text` again.

    Lines end at blanks, which are left out there. A word that does not fit in is broken
    after a punctuation mark, if there is one near, but never before a combining mark.
    No line begins with `::`, which a CI system takes for a command: it is escaped.
    """
    lines: list[str] = []
    rest = text.strip(" ")
    while rest:
        if lines and rest.startswith("::"):
            rest = f"\\x3a{rest[1:]}"
        end = _end(rest, width)
        lines.append(rest[:end].rstrip(" "))
        rest = rest[end:].lstrip(" ")
    return lines or [""]


# The number of characters of text that the next line takes.
def _end(text: str, width: int) -> int:
    fitting = _fitting(text, width)
    if fitting == len(text) or text[fitting] == " ":
        return fitting
    blank = text.rfind(" ", 0, fitting)
    if blank > fitting // 3:
        return blank
    for place in range(fitting, fitting * 2 // 3, -1):
        before = text[place - 1]
        if before in _STOPS and cell_len(text[place]) and text[place - 1 :][:2] != "::":
            return place
    return fitting


# At least one character, so that there is an end; a mark stays with what it combines
# with. A variation selector takes no cell, but can make what it follows wider.
def _fitting(text: str, width: int) -> int:
    used = 0
    for place, one in enumerate(text):
        used += 1 if one == _WIDENING else cell_len(one)
        if used > width and place:
            return _before_marks(text, place)
    return len(text)


def _before_marks(text: str, place: int) -> int:
    end = place
    while end and not cell_len(text[end]):
        end -= 1
    return end or place


def hanging(text: str, width: int, indent: int, more: int = 2) -> Iterator[str]:
    """Yield `text` in lines of at most `width` cells that begin with `indent` blanks.

    All but the first begin with `more` blanks besides.
    """
    whole = fold(text, width - indent)
    if len(whole) == 1:
        yield " " * indent + whole[0]
        return
    first, *rest = fold(text, width - indent - more)
    yield " " * indent + first
    for line in rest:
        yield " " * (indent + more) + line


def side_by_side(left: str, right: str, start: int, width: int) -> Iterator[str]:
    """Yield `left` and, beside it from the cell `start` on, `right` in folded lines."""
    first, *rest = fold(right, width - start)
    yield left + " " * (start - cell_len(left)) + first
    for line in rest:
        yield " " * start + line
