"""Find the line of a policy file on which something stands."""

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"""\s*(?P<key>[\w-]+|"[^"]*"|'[^']*')\s*(?:\.|=)""")


def line_of(text: str, location: tuple[str | int, ...]) -> int:
    """Return the line (from 1) of the key at `location` in TOML, or of its table."""
    best_line, best_depth = 1, 0
    table: tuple[str | int, ...] = ()
    seen: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.fullmatch(line)
        key = _KEY.match(line)
        if header:
            names = tuple(part.strip(" \"'") for part in header.group(2).split("."))
            table = names
            if header.group(1) == "[[":
                seen[names] = seen.get(names, -1) + 1
                table = (*names, seen[names])
            here = table
        elif key:
            here = (*table, key.group("key").strip("\"'"))
        else:
            continue
        depth = _common(here, location)
        if depth > best_depth:
            best_line, best_depth = number, depth
    return best_line


def _common(here: tuple[str | int, ...], location: tuple[str | int, ...]) -> int:
    depth = 0
    for ours, theirs in zip(here, location, strict=False):
        if ours != theirs:
            break
        depth += 1
    return depth if depth in {len(here), len(location)} else 0
