"""Read TOML: what is wrong with a file is one line with its path and line number."""

import re
import tomllib
from pathlib import Path
from typing import Any

from egressmon.policy.errors import PolicyError

_HINT = "see docs/policy.md for the format"


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
