"""Mask secrets that one command pipes into another: echo PASSWORD | sudo -S."""

import re

from egressmon.sanitise.catalog.surrounded import ARGUMENT
from egressmon.sanitise.commands.kinds import masked
from egressmon.sanitise.counting import hidden
from egressmon.sanitise.words.secret_names import is_no_value, is_secret_name

_WRITERS = frozenset({"echo", "printf"})
# Programs that read passwords from their standard input without an option.
_READERS = frozenset("chpasswd smbpasswd kinit newusers cryptsetup".split())
_SUDO_READS = re.compile(r"-[A-Za-z]{0,6}S[A-Za-z]{0,6}|--stdin")
_FORMAT = re.compile(r"(?:%[-+ 0-9.]{0,8}[sbdq]|\\[nrt0]|[:\s])+")
_OPTION = re.compile(r"-[neE]{1,3}|--")


def is_pipe(between: str) -> bool:
    """Tell whether `between`, the text that separates two commands, is a pipe."""
    return between.strip(" \t\r\n&") == "|"


def fed_secrets(writer: list[str], reader: list[str]) -> list[str] | None:
    """Return the masked words of the command `writer`, or None.

    None if it does not feed a secret to the command `reader`.
    """
    if not _reads_secret(reader):
        return None
    for start, word in enumerate(writer):
        if word.rpartition("/")[2] in _WRITERS:
            return [*writer[: start + 1], *map(_fed, writer[start + 1 :])]
    return None


def _reads_secret(reader: list[str]) -> bool:
    programs = [word.rpartition("/")[2] for word in reader]
    if not _READERS.isdisjoint(programs[:4]):
        return True
    if programs[0] == "sudo" and any(map(_SUDO_READS.fullmatch, reader[1:])):
        return True
    if "passwd" in programs[:3] and "--stdin" in reader:
        return True
    return any(map(_says_so, reader))


# Whether an option says that a secret comes from standard input: --password-stdin,
# --with-token, --passphrase-fd 0.
def _says_so(option: str) -> bool:
    name, dashes = option.removesuffix("-stdin").removesuffix("-fd"), option[:2]
    if dashes != "--" or name == option:
        return option == "--with-token"
    return is_secret_name(name)


def _fed(word: str) -> str:
    if _OPTION.fullmatch(word) or _FORMAT.fullmatch(word):
        return word
    if is_no_value(word.rpartition(":")[2].strip("\\n")):
        return masked("text", word)
    return hidden(ARGUMENT.name)
