"""Mask secrets in what is recorded.

Whatever looks like a secret is replaced by `***`, also in doubt. Commands are read as
their programs read them (`commands/table.py` says which options hold secrets); other
words are judged by names and shapes (`words/`); and what a search would find is masked
(`settled.py`).
docs/evidence.md says what is not masked.
"""

from egressmon.sanitise.argv_mode import ArgvMode
from egressmon.sanitise.commands.command import mask_command
from egressmon.sanitise.counting import MASK
from egressmon.sanitise.settled import (
    sanitise_place,
    sanitise_text,
    settled_texts,
    settled_words,
)
from egressmon.sanitise.words.text import MAX_TEXT

__all__ = [
    "MASK",
    "sanitise_argv",
    "sanitise_place",
    "sanitise_text",
]

_MAX_WORDS = 1024
_MAX_CHARACTERS = 16384


def sanitise_argv(argv: list[str], mode: ArgvMode = "masked") -> list[str]:
    """Return `argv` with secrets masked; `mode` may ask for less of it.

    If it is very long, only its beginning, and a last word says how many are left out.
    """
    if mode == "none":
        return []
    kept = _bounded(argv[:1] if mode == "program" else argv)
    shown = settled_words(mask_command(settled_texts(kept)))
    if mode == "masked" and len(kept) < len(argv):
        shown.append(f"… ({len(argv) - len(kept)} words more)")
    return shown


def _bounded(argv: list[str]) -> list[str]:
    left = _MAX_CHARACTERS
    for index, word in enumerate(argv[:_MAX_WORDS]):
        left -= min(len(word), MAX_TEXT + 1)
        if left < 0:
            return argv[:index]
    return argv[:_MAX_WORDS]
