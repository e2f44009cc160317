"""Programs, commands in turn and last words, among the words of a command."""

import pytest

from egressmon.sanitise.commands.recognising import (
    begins_command,
    held_command,
    is_command_text,
    last_words,
    module_run,
    program_of,
)


@pytest.mark.parametrize(
    ("word", "program"),
    [
        ("/usr/bin/mysql", "mysql"),
        ("$(which mysql)", "mysql"),
        ("`command -v psql`", "psql"),
        ("$MYSQL", "mysql"),
        ("${MYSQL}", "mysql"),
    ],
)
def test_a_program_is_known_however_it_is_named(word: str, program: str) -> None:
    assert program_of(word) == program


@pytest.mark.parametrize(
    ("words", "index"),
    [
        (["python", "-m", "pip"], 2),
        (["python", "-W", "error", "-u", "-m", "pip"], 5),
        (["python", "-c", "pass", "-m", "pip"], 0),
        (["python", "x.py"], 0),
        (["python", "-m"], 0),
    ],
)
def test_the_module_that_python_runs_is_a_command(words: list[str], index: int) -> None:
    assert module_run(words, 1) == index


@pytest.mark.parametrize(
    ("words", "at", "program", "begins"),
    [
        (["find", ".", "-exec", "mysql"], 2, "find", True),
        (["grep", "-exec", "mysql"], 1, "grep", False),
        (["sshpass", "ssh"], 1, "sshpass", True),
        (["docker", "mysql"], 1, "docker", True),
        (["docker", "--rm", "mysql"], 2, "docker", True),
        (["docker", "--name", "mysql"], 2, "docker", False),
        (["tool", "--", "mysql"], 1, "tool", True),
        (["tool", "--", "harmless-word"], 1, "tool", False),
    ],
)
def test_a_command_begins_where_its_runner_has_one(
    words: list[str], at: int, program: str, *, begins: bool
) -> None:
    assert begins_command(words, at, program) == begins


def test_a_text_is_a_command_if_its_program_is_known_and_has_arguments() -> None:
    assert is_command_text("mysql -u root")
    assert not is_command_text("mysql")
    assert not is_command_text("these are words")


@pytest.mark.parametrize(
    ("word", "command"),
    [
        ("ProxyCommand=sshpass -p x ssh h", "sshpass -p x ssh h"),
        ("-oProxyCommand sshpass -p x ssh h", "sshpass -p x ssh h"),
        ("RUN=mysql -px", "mysql -px"),
        ("NOTE=these are words", ""),
    ],
)
def test_a_setting_may_hold_a_command(word: str, command: str) -> None:
    begin = held_command(word)

    assert (word[begin:] if begin else "") == command


@pytest.mark.parametrize(
    ("words", "names", "found"),
    [
        (["htpasswd", "-b", "f", "u", "pw"], ["-b"], [4]),
        (["htpasswd", "-cb", "f", "u", "pw"], ["-b"], [4]),
        (["htpasswd", "f", "u", "pw"], ["-b"], []),
        (["t", "--set", "pw", "--user", "bob"], ["--set"], [2]),
        (["t", "-b"], ["-b"], []),
    ],
)
def test_the_last_word_is_a_secret_behind_an_option(
    words: list[str], names: list[str], found: list[int]
) -> None:
    assert list(last_words(words, 0, names)) == found
