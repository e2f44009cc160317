"""Mask secrets in a command, its options, and the commands that it runs in turn."""

import re
from functools import partial

from egressmon.sanitise.catalog.surrounded import ARGUMENT
from egressmon.sanitise.commands.kinds import masked_word
from egressmon.sanitise.commands.pipes import fed_secrets, is_pipe
from egressmon.sanitise.commands.shell import Word, simple_commands
from egressmon.sanitise.commands.walk import Command
from egressmon.sanitise.counting import hidden
from egressmon.sanitise.words.text import cut, mask_known

_MAX_DEPTH = 4
_SHELL_SYNTAX = re.compile(r"[\s;|&()<>\"'\\`]")
_NO_COMMANDS = frozenset({"$", ""})


def mask_shell(text: str, depth: int = 0) -> str:
    """Return `text`, written for a shell, with the secrets in its commands masked."""
    if not _SHELL_SYNTAX.search(text):
        return masked_word(text)
    if depth > _MAX_DEPTH:
        return hidden(ARGUMENT.name)
    text = cut(text)
    shown: list[str] = []
    at = 0
    commands = simple_commands(text)
    for index, words in enumerate(commands):
        values = [word.value for word in words]
        if len(values) == 1 and values[0] in _NO_COMMANDS:
            continue
        following = commands[index + 1] if index + 1 < len(commands) else []
        for word, value in zip(
            words,
            _masked_command(
                text, commands[index - 1] if index else [], words, following, depth
            ),
            strict=True,
        ):
            if value != word.value:
                shown += [text[at : word.start], word.quote, value, word.quote]
                at = word.end
    # Then mask it as plain text, too: here-documents and comments are no commands.
    return mask_known("".join([*shown, text[at:]]))


# The masked words of one command; `before` and `following` are its neighbours.
def _masked_command(
    text: str, before: list[Word], words: list[Word], following: list[Word], depth: int
) -> list[str]:
    values = [word.value for word in words]
    if following and is_pipe(text[words[-1].end : following[0].start]):
        fed = fed_secrets(values, [word.value for word in following])
        if fed is not None:
            return fed
    # $(which mysql) -pSECRET: the program is the last word of the command before.
    if before and values[0][:1] == "-" and text[words[0].start - 2] in ")`":
        return mask_command([before[-1].value, *values], depth + 1)[1:]
    return mask_command(values, depth + 1)


def mask_command(words: list[str], depth: int = 0) -> list[str]:
    """Return the `words` of a command with secrets masked, in the same number."""
    command = Command(words, partial(mask_shell, depth=depth))
    at = 0
    while at < len(words):
        at = command.mask_from(at)
    return command.shown
