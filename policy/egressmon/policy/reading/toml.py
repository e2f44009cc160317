"""Read TOML: what is wrong with a file is one line with its path and line number."""

import re
import tomllib
from pathlib import Path
from typing import Any

from egressmon.policy.errors import PolicyError

_HINT = "see docs/policy.md for the format"
_MAX_PARTS = 64
"""How many parts a dotted key may have, which take the square of that to parse."""
_MAX_DEPTH = 64
"""How many lists and tables may be inside each other."""
# Strings, comments, and the characters that matter outside of them. Each string ends
# somewhere, also one without an end: so none is begun twice.
_TOKEN = re.compile(
    r'"""[^"\\]*+(?:(?:\\.|"(?!""))[^"\\]*+)*(?:"{3,5}|\\?\Z)'
    r"|'''[^']*+(?:'(?!'')[^']*+)*(?:'{3,5}|\Z)"
    r'|"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*"?'
    r"|'[^'\n]*+'?|#[^\n]*+|[.\n=,\[\]{}]",
    re.DOTALL,
)
_BEGINS = frozenset("\n=,[{")


def decode(path: Path, data: bytes) -> str:
    """Return the text in `data`, the content of `path`; raises PolicyError."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(
            f"{path}:{line}: not UTF-8 text", "save the file as UTF-8"
        ) from error
    if text.startswith("\ufeff"):  # TOML 1.0 and tomllib allow none
        raise PolicyError(
            f"{path}:1: not TOML: it begins with a byte order mark",
            "save the file as UTF-8 without a byte order mark",
        )
    return text


def parse(path: Path, text: str) -> dict[str, Any]:
    """Return the tables in `text`, the content of `path`; raises PolicyError."""
    _require_simple(path, text)
    try:
        return tomllib.loads(text)
    except ValueError as error:  # also of a number with thousands of digits
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found.group(1)) if found else text.count("\n") + 1
        what = re.sub(r" \(at .*\)", "", str(error))
        raise PolicyError(f"{path}:{line}: not TOML: {what}", _HINT) from error
    except RecursionError as error:
        raise PolicyError(
            f"{path}: not TOML that can be read: nested too deeply", _HINT
        ) from error


# The file may be anybody's: what takes long to parse is refused before.
def _require_simple(path: Path, text: str) -> None:
    if text.count(".") <= _MAX_PARTS and text.count("[") + text.count("{") < _MAX_DEPTH:
        return
    parts = depth = 0
    for match in _TOKEN.finditer(text):
        mark = match[0]
        if mark == ".":
            parts += 1
        elif mark in _BEGINS:
            parts = 0
            depth += mark in {"[", "{"}
        elif mark in {"]", "}"}:
            depth = max(0, depth - 1)
        if parts >= _MAX_PARTS or depth > _MAX_DEPTH:
            line = text.count("\n", 0, match.start()) + 1
            what = (
                f"nested too deeply: more than {_MAX_DEPTH} lists and tables"
                if depth > _MAX_DEPTH
                else f"a key has more than {_MAX_PARTS} parts"
            )
            raise PolicyError(
                f"{path}:{line}: not TOML that can be read: {what}", _HINT
            )
