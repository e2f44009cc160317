"""Find the arguments of commands that their programs take for secrets."""

import re
from collections.abc import Generator, Iterator
from functools import cache
from itertools import takewhile
from operator import eq

from egressmon.sanitise.catalog.surrounded import ARGUMENT
from egressmon.sanitise.commands.command import mask_command, mask_shell
from egressmon.sanitise.commands.table import TABLE
from egressmon.sanitise.searching.found import Match, Sought, every
from egressmon.sanitise.words.secret_names import is_stand_in

_BEFORE, _BEHIND = 256, 1024
_LINE = re.compile(rb"[^\r\n\x00]*+")
_STRING = re.compile(rb'\s{0,64}"((?:[^"\\\x00-\x1f]|\\.){0,1024}+)"\s{0,64}(,|\])')
_MAX_WORDS = 64
_LONGEST_NAME = 32
_REFERENCES = re.compile(r"(?:\$\{?\w+\}?|<[\w -]+>|[:@/%=\"'*]++){1,8}")


@cache
def _programs() -> re.Pattern[bytes]:
    names = {name.split()[0] for name in TABLE}
    words = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    return re.compile(rf"(?<![\w.-])(?:{words})(?=[ ]|\",)".encode())


def in_commands(sought: Sought) -> Iterator[Match]:
    """Yield the secrets among the arguments of commands.

    A command is the rest of a line behind the name of a program in `table.py`, or a
    list of strings in JSON.
    """
    data = sought.data
    for mark in (b" -", b'"-'):
        searched = 0
        for at in every(data, mark):
            if at < searched or not data[at + 2 : at + 3].isalpha():
                continue
            start = max(data.rfind(b"\n", 0, at) + 1, at - _BEFORE, searched)
            program = _programs().search(data, start, at + 1)
            if program is None:
                searched = max(0, at - _LONGEST_NAME)
            elif data[program.end() : program.end() + 1] == b'"':
                searched = yield from _in_list(data, program.start() - 1)
            else:
                line = _LINE.match(data, program.start(), at + _BEHIND)
                searched = line.end() if line else at + 1
                if line is not None:
                    yield from _in_line(line[0].decode("latin-1"), program.start())


# latin-1 has one character for each byte, so that places stay right.
def _in_line(text: str, start: int) -> Iterator[Match]:
    yield from _difference(text, mask_shell(text), start)


def _difference(text: str, shown: str, start: int) -> Iterator[Match]:
    before = _common(text, shown)
    behind = _common(text[before:][::-1], shown[before:][::-1])
    secret = text[before : len(text) - behind]
    rest = re.split(r"\s", text[len(text) - behind :], maxsplit=1)[0]
    word = secret + rest
    is_none = _REFERENCES.fullmatch(secret) or is_stand_in(word.rpartition(":")[2])
    if len(secret) >= 3 and not is_none:
        yield Match(start + before, start + len(text) - behind, ARGUMENT.name)


def _common(one: str, other: str) -> int:
    return sum(takewhile(bool, map(eq, one, other)))


# Returns where the list, or what was looked at of it, ends.
def _in_list(data: bytes, at: int) -> Generator[Match, None, int]:
    words: list[re.Match[bytes]] = []
    while len(words) < _MAX_WORDS and (word := _STRING.match(data, at)):
        words.append(word)
        at = word.end()
        if word[2] == b"]":
            break
    argv = [word[1].decode("latin-1") for word in words]
    for word, text, shown in zip(words, argv, mask_command(argv), strict=True):
        yield from _difference(text, shown, word.start(1))
    return at
