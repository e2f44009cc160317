"""Look up in the table what the options and words of a program hold."""

from functools import lru_cache
from typing import NamedTuple

from egressmon.sanitise.commands.table import RUNNERS, SHELLS, TABLE, WRAPPERS


class Rules(NamedTuple):
    """What the options and words of a program hold: a row of table.py, parsed."""

    options: dict[str, str]
    """The kind of each option."""
    takes: frozenset[str]
    words: tuple[str, ...]
    prefixes: tuple[str, ...]
    last: tuple[str, ...]


NONE = Rules({}, frozenset(), (), (), ())
_BEGINNINGS = frozenset(
    name.rsplit(" ", count)[0] for name in TABLE for count in range(name.count(" ") + 1)
)
# Behind a runner these words are its subcommands, as in docker exec.
_KEYWORDS = frozenset(
    "exec command builtin time watch script coverage then do else if while until elif "
    "! { net security http https find ip".split()
)


def is_known(program: str) -> bool:
    """Tell whether `program` is in the table, or runs other programs."""
    return (
        program in _BEGINNINGS
        or program in WRAPPERS
        or program in SHELLS
        or program in RUNNERS
    )


def is_command(word: str) -> bool:
    """Tell whether `word`, behind the words of a runner, begins a command."""
    program = word.rpartition("/")[2]
    return program not in _KEYWORDS and is_known(program)


def subcommand(program: str, words: list[str]) -> tuple[str, ...]:
    """Return those first of `words` that are a subcommand of `program` in the table."""
    found: list[str] = []
    name = program
    for word in words:
        name += f" {word.lower()}"
        if name not in _BEGINNINGS:
            break
        found.append(word.lower())
    return tuple(found)


@lru_cache(maxsize=512)
def rules_of(program: str, words: tuple[str, ...]) -> Rules:
    """Return the rules of `program` with those of its subcommand `words` added."""
    names = [" ".join((program, *words[:count])) for count in range(len(words) + 1)]
    return _parsed("; ".join(TABLE[name] for name in names if name in TABLE))


def _parsed(row: str) -> Rules:
    options: dict[str, str] = {}
    takes: frozenset[str] = frozenset()
    lists: dict[str, tuple[str, ...]] = {}
    for part in row.split("; ") if row else []:
        kind, _, names = part.partition(":")
        listed = tuple(names.split())
        if kind == "takes":
            takes |= frozenset(listed)
        elif kind in {"words", "prefix", "last"}:
            lists[kind] = listed
        else:
            options.update(dict.fromkeys(listed, kind))
    return Rules(
        options,
        takes,
        lists.get("words", ()),
        lists.get("prefix", ()),
        lists.get("last", ()),
    )
