"""Walk over the words of a command, and mask the secrets among them."""

import re
from collections.abc import Callable

from egressmon.sanitise.catalog.surrounded import ARGUMENT
from egressmon.sanitise.commands import table, tools
from egressmon.sanitise.commands.kinds import masked, masked_by_name, masked_word
from egressmon.sanitise.commands.recognising import (
    begins_command,
    held_command,
    is_command_text,
    is_python,
    last_words,
    module_run,
    program_of,
)
from egressmon.sanitise.counting import MASK, hidden
from egressmon.sanitise.words.secret_names import is_secret_name, is_switch

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_LOOKS_LIKE_OPTION = re.compile(r"--[a-z][a-z0-9-]*(?:=.*)?|-[A-Za-z0-9]", re.DOTALL)
_OPTION_NAME = re.compile(r"--?[A-Za-z0-9][\w.-]*")
# Options of programs that are not in the table.
_USER_OPTIONS = frozenset({"-u", "--user", "-U", "--proxy-user", "--auth"})
# A host, as Bundler's key for credentials. Its other keys with a dot hold none.
_HOST = re.compile(
    r"(?!(?:build|mirror|local|gem|plugin)\.)(?:https?://)?[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}"
    r"(?::\d{1,5})?/?"
)
_SCRIPT_FOLLOWS = re.compile(r"--command|-[A-Za-bd-z]{0,6}c[A-Za-z]{0,6}")
_WITH_SETTING = frozenset({"-o", "-O", "+o", "+O"})
_NO_SCRIPTS = frozenset({"su", "runuser", "script"})  # in the first words behind them
_DSN = frozenset({"--dsn", "-dsn", "--connect"})


class Command:
    """The words of a command, and `shown`: the same words, masked as far as it got."""

    def __init__(self, words: list[str], mask_shell: Callable[[str], str]) -> None:
        """Take the `words`; `mask_shell` masks a word that is a script of a shell."""
        self.words = words
        self.shown = list(words)
        self._mask_shell = mask_shell
        self._program = ""
        self._rules = tools.NONE

    def mask_from(self, at: int) -> int:
        """Mask the command that begins at index `at`; returns where the next begins."""
        word = self.words[at]
        program = program_of(word)
        if _ASSIGNMENT.match(word):
            self._mask_word(at)
            return at + 1
        if program in table.SHELLS:
            return self._mask_shell_words(at + 1)
        if program in table.WRAPPERS:
            return self._pass_wrapper(at, table.WRAPPERS[program])
        if is_python(program) and (module := module_run(self.words, at + 1)):
            return module
        if " " in word and at:
            self.shown[at] = self._mask_shell(word)
        elif word != MASK:
            self.shown[at] = masked_word(word)
        return self._mask_arguments(at, program)

    # Pass the options and words of a wrapper; returns where the command that it runs
    # begins. `row` is its row of table.WRAPPERS.
    def _pass_wrapper(self, at: int, row: str) -> int:
        takes, _, count = row.partition(" ")
        left, program = int(count), program_of(self.words[at])
        at += 1
        while at < len(self.words):
            word = self.words[at]
            if word == "--":
                return at + 1
            if word in {"-c", "--command"} and program == "flock":
                self._mask_script(at + 1)
                return at + 2
            if word.startswith("-") and len(word) > 1:
                self._mask_word(at)
                value = word in table.LONG_WITH_VALUE or (
                    word[1] != "-" and word[-1] in takes
                )
                if value and at + 1 < len(self.words):
                    at += 1
                    self._mask_word(at)
            elif left:
                left -= 1
                self._mask_word(at)
            else:
                return at
            at += 1
        return at

    # The word behind -c is shell text, as all words of eval are. The words behind that,
    # or behind the name of a script, are arguments handed on to it.
    def _mask_shell_words(self, at: int) -> int:
        name = self.words[at - 1].rpartition("/")[2]
        while at < len(self.words):
            word = self.words[at]
            if _SCRIPT_FOLLOWS.fullmatch(word) and name != "eval":
                self._mask_script(at + 1)
                return self._mask_handed_on(at + 2)
            if name == "eval" or word.startswith("--command="):
                self._mask_script(at)
            else:
                self._mask_word(at)
                if word[:1] not in {"-", "+"} and name not in _NO_SCRIPTS:
                    return self._mask_handed_on(at + 1)
            at += 2 if word in _WITH_SETTING else 1
        return len(self.words)

    def _mask_script(self, at: int) -> None:
        if at < len(self.words):
            self.shown[at] = self._mask_shell(self.words[at])

    def _mask_handed_on(self, at: int) -> int:
        self._program, self._rules = "", tools.NONE
        return self._mask_options_and_words(at, 0)

    def _mask_arguments(self, at: int, program: str) -> int:
        names = self._subcommand(at, program)
        self._program = program
        self._rules = tools.rules_of(program, names)
        end = self._mask_options_and_words(at + 1, len(names))
        if end >= len(self.words) and self._rules.last:
            for index in last_words(self.words, at, self._rules.last):
                self.shown[index] = hidden(ARGUMENT.name)
        return end

    def _subcommand(self, at: int, program: str) -> tuple[str, ...]:
        near = [word for word in self.words[at + 1 : at + 9] if word[:1] != "-"]
        # The first word may be the value of an option (git -C FOLDER config).
        return tools.subcommand(program, near) or tools.subcommand(program, near[1:])

    def _mask_options_and_words(self, at: int, used: int) -> int:
        place, name = -used, False
        while at < len(self.words):
            word = self.words[at]
            if begins_command(self.words, at, self._program):
                return at if word[:1] != "-" else at + 1
            if word.startswith(self._rules.prefixes) and self._rules.prefixes:
                start = next(
                    one for one in self._rules.prefixes if word.startswith(one)
                )
                self.shown[at] = start + hidden(ARGUMENT.name)
            elif word[:1] == "-" and len(word) > 1:
                at = self._mask_option(at)
                continue
            else:
                name = self._mask_argument(at, place, secret=name)
                place += 1
            at += 1
        return at

    # Mask a word that belongs to no option; returns whether the next one is a secret.
    def _mask_argument(self, at: int, place: int, *, secret: bool) -> bool:
        word, kinds = self.words[at], self._rules.words
        if place < 0 or not kinds:
            self._mask_word(at)
            return False
        kind = kinds[min(place, len(kinds) - 1)]
        if place >= len(kinds) and not kind.endswith("*"):
            kind = "text"
        kind = kind.rstrip("*")
        if kind in {"named", "hosted"}:
            if secret:
                self.shown[at] = masked("secret", word)
                return True
            self._mask_word(at)
            if kind == "hosted":
                return _HOST.fullmatch(word) is not None
            return "=" not in word and is_secret_name(word.rpartition(":")[2])
        self.shown[at] = masked(kind, word)
        return False

    # Mask an option and its value; returns where the next word begins.
    def _mask_option(self, at: int) -> int:
        name, equals, value = self.words[at].partition("=")
        kind = self._rules.options.get(name)
        is_name = kind is not None or _OPTION_NAME.fullmatch(name) is not None
        if is_name and equals and (kind is not None or name.startswith("--")):
            self.shown[at] = self._masked_joined(name, kind, value)
            return at + 1
        if kind is not None:
            return self._mask_value_behind(at, name, kind)
        name = name if is_name else ""
        if self._is_long(name) and not equals and is_secret_name(name):
            return self._mask_unlisted(at, name)
        return self._mask_cluster(at) or self._mask_unlisted(at, name)

    # Whether it is a long option with one dash, which some programs have: -password.
    def _is_long(self, name: str) -> bool:
        return len(name) > 4 and name[:2] not in self._rules.options

    # An option that is not in the table is judged by its name.
    def _mask_unlisted(self, at: int, name: str) -> int:
        behind = "".join(self.words[at + 1 : at + 2])
        if name in _DSN:
            return self._mask_value_behind(at, name, "oracle")
        if name in _USER_OPTIONS and ":" in behind:
            return self._mask_value_behind(at, name, "userpass")
        joined = "=" in self.words[at]
        if not joined and is_secret_name(name) and not is_switch(name):
            return self._mask_value_behind(at, name, None)
        self._mask_word(at)
        return at + 1

    def _masked_joined(self, name: str, kind: str | None, value: str) -> str:
        if kind == "ifnamed":
            kind = self._kind_by_words()
        if kind is None and is_command_text(value):
            return f"{name}={self._mask_shell(value)}"
        if kind == "joined":
            kind = "secret"
        if kind is None and name in _USER_OPTIONS:
            kind = "userpass"
        if kind is None and name in _DSN:
            kind = "oracle"
        if kind is None and is_secret_name(name):
            return f"{name}={masked_by_name(name, value)}"
        return f"{name}={masked(kind or 'text', value)}"

    def _mask_value_behind(self, at: int, name: str, kind: str | None) -> int:
        if kind == "ifnamed":
            kind = self._kind_by_words()
        if kind is None:
            self.shown[at] = masked_word(self.words[at])
        if at + 1 >= len(self.words) or kind == "joined":
            return at + 1
        value = self.words[at + 1]
        if _LOOKS_LIKE_OPTION.fullmatch(value):
            return at + 1
        if kind == "text":
            self._mask_word(at + 1)
        elif kind is None:
            self.shown[at + 1] = masked_by_name(name, value)
        else:
            self.shown[at + 1] = masked(kind, value)
        return at + 2

    # Short options in one word; the last one may have a value, joined or behind it.
    # Returns where the next word begins, or 0 if the word is no such cluster.
    def _mask_cluster(self, at: int) -> int:
        word = self.words[at]
        if word[1] == "-" or self._program in table.ONE_DASH:
            return 0
        for index, letter in enumerate(word[1:17], 1):
            kind = self._rules.options.get(f"-{letter}")
            if kind is None and letter in self._rules.takes:
                kind = "text"
            if kind is not None:
                head, value = word[: index + 1], word[index + 1 :]
                if not value:
                    return self._mask_value_behind(at, head, kind)
                kind = "secret" if kind == "joined" else kind
                self.shown[at] = head + masked(kind, value)
                return at + 1
            if not letter.isalnum():
                break
        return 0

    def _kind_by_words(self) -> str:
        names = (word for word in self.words[1:] if word[:1] != "-")
        return "secret" if any(map(is_secret_name, names)) else "text"

    # Mask a word whose meaning is not known. It may be shell text (ssh HOST 'COMMAND'),
    # or a setting with such a text.
    def _mask_word(self, at: int) -> None:
        word = self.words[at]
        blanks = " " in word or "\n" in word
        if (blanks and is_command_text(word)) or "$(" in word:
            self.shown[at] = self._mask_shell(word)
            return
        begin = held_command(word) if blanks else 0
        if begin:
            self.shown[at] = word[:begin] + self._mask_shell(word[begin:])
        else:
            self.shown[at] = masked_word(word)
