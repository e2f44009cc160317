"""The command line is parsed, and the text of `--help` made."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

from egressmon.errors import UsageError

_WITH_COMMAND = (["watch"], ["learn"], ["prove"], ["cassettes", "refresh"])


# argparse makes a formatter for each option as it is added, and imports shutil (4 ms)
# to learn how wide the terminal is.
class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


class RawHelp(_Help, argparse.RawDescriptionHelpFormatter):
    """Shows descriptions with the lines that they have."""


# As shutil.get_terminal_size() has it.
def _columns() -> int:
    with suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    with suppress(AttributeError, ValueError, OSError):
        output = sys.__stdout__
        found = os.get_terminal_size(output.fileno()).columns if output else 0
        if found > 0:
            return found
    return 80


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Help)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see `{self.prog} --help`")


class _Version(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        from egressmon.host import egressmon_version  # noqa: PLC0415 -- seldom

        sys.stdout.write(f"egressmon {egressmon_version()}\n")
        raise SystemExit(0)


Add: TypeAlias = Callable[..., argparse.ArgumentParser]
"""Adds a verb to the command line: argparse's `add_parser`."""


def parse(arguments: list[str], add_verbs: Callable[[Add], None]) -> argparse.Namespace:
    """Return the parsed `arguments`; `add_verbs` adds all verbs. Raises UsageError.

    With a verb that runs a command, the words after the first `--` are `command`; with
    any other they are what the verb takes, such as paths that begin with `-`.
    """
    if not _runs_command(arguments):
        return parser(add_verbs).parse_args(arguments)
    # argparse's own handling of a command differs between versions of Python.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    try:
        parsed = parser(add_verbs).parse_args(arguments[:end])
    except UsageError as error:
        if end == len(arguments) and arguments[:1] in (["watch"], ["learn"]):
            error.hint = f"egressmon {arguments[0]} [OPTIONS] -- COMMAND [ARGUMENT...]"
        raise
    parsed.command = arguments[end + 1 :]
    return parsed


def _runs_command(arguments: list[str]) -> bool:
    return arguments[:1] in _WITH_COMMAND or arguments[:2] in _WITH_COMMAND


def parser(add_verbs: Callable[[Add], None]) -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `add_verbs` adds all verbs."""
    top = _Parser(
        prog="egressmon",
        description="See, attribute, judge and prove what a command connects to, "
        "from the kernel.",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = top.add_subparsers(
        dest="verb", metavar="COMMAND", required=True, parser_class=_Parser
    )
    add_verbs(commands.add_parser)
    return top
