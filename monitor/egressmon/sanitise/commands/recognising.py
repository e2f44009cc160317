"""Tell which words of a command are programs, commands in turn, or last words."""

import re
from collections.abc import Iterable, Iterator

from egressmon.sanitise.commands import table, tools

_PYTHON = re.compile(r"(?:python|pypy)[\d.]*t?")
_EXECS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
# An option, a setting or a variable whose value is a command: ProxyCommand=sshpass …
_HOLDS_COMMAND = re.compile(
    r"(?:[\w.-]{1,64}+=|(?:-o)?[A-Z][A-Za-z]{1,32}Command[ =])(?=[^\s=]{1,256}\s)"
)
_NAMED_PROGRAM = re.compile(
    r"[$(`\"]{1,3}(?:which|command -v|type -[pP])\s([^\s`)]{1,256})[`)\"]+"
)
# Options of runners that take no value: the next word can be a command.
_SWITCHES = re.compile(
    r"-[itdTAaqvntCmDR46]+|--(?:rm|interactive|tty|detach|init|privileged|read-only|quiet|"
    r"no-deps|verbose|isolated|stdin)"
)


def program_of(word: str) -> str:
    """Return the name of the program that `word` is.

    `$(which mysql)` and `$MYSQL` are taken for mysql, too.
    """
    if word[:1] in {"$", "`", '"'}:
        found = _NAMED_PROGRAM.fullmatch(word)
        word = found[1] if found is not None else word.strip("${}").lower()
    return word.rpartition("/")[2]


def is_python(program: str) -> bool:
    """Tell whether `program` is an interpreter of Python."""
    return _PYTHON.fullmatch(program) is not None


def module_run(words: list[str], at: int) -> int:
    """Return the index of the module that `python -m` runs as a command.

    `at` is behind `python`; 0 if there is none.
    """
    while at + 1 < len(words) and words[at][:1] == "-":
        word = words[at]
        if word == "-m":
            return at + 1
        if word == "-c":
            return 0
        at += 2 if word in {"-W", "-X"} else 1
    return 0


def begins_command(words: list[str], at: int, program: str) -> bool:
    """Tell whether a command that `program` runs begins at index `at` of `words`.

    Where the word there is an option, it begins behind that.
    """
    word, before = words[at], words[at - 1]
    if word == "--" and at + 1 < len(words):
        return tools.is_command(words[at + 1])
    if word in _EXECS:
        return program == "find"
    if word[:1] == "-" or program not in table.RUNNERS:
        return False
    if program == "sshpass":
        return True
    behind = before[:1] != "-" or _SWITCHES.fullmatch(before) is not None
    return behind and (tools.is_command(word) or is_python(word))


def is_command_text(text: str) -> bool:
    """Tell whether `text` is a command of a known program, with arguments."""
    head = text.split(maxsplit=1)
    return len(head) > 1 and tools.is_known(program_of(head[0]))


def held_command(word: str) -> int:
    """Return where in `word` the command begins that is its value; 0 if there is none.

    `word` is an option, a setting or a variable.
    """
    held = _HOLDS_COMMAND.match(word)
    if held is None or not is_command_text(word[held.end() :]):
        return 0
    return held.end()


def last_words(words: list[str], at: int, names: Iterable[str]) -> Iterator[int]:
    """Yield the indexes of the last words that options in `names` make secrets.

    The command begins at index `at`.
    """
    options = [word for word in words[at:] if word[:1] == "-"]
    for name in names:
        wanted = name.lstrip("-")
        found = name in options or (
            len(wanted) == 1
            and any(wanted in one for one in options if one[1:2] != "-")
        )
        if found and (last := _last_word(words, at, name)):
            yield last


# Options, and the value of one, may still follow the last word.
def _last_word(words: list[str], at: int, name: str) -> int:
    for index in range(len(words) - 1, at, -1):
        word, before = words[index], words[index - 1]
        of_long = before[:2] == "--" and "=" not in before and before != name
        if word[:1] != "-" and not of_long:
            return index
    return 0
