"""What begins here that the guard may not see: programs, interpreters, calls in C."""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, cast

from egressmon.guard.callers import caller
from egressmon.guard.decisions import Decision, Word

_CALLS = frozenset(
    [
        *("connect", "sendto", "sendmsg", "sendmmsg", "syscall"),
        *("getaddrinfo", "gethostbyname", "gethostbyname2", "gethostbyaddr"),
        *("getnameinfo", "res_query", "res_search", "res_send"),
    ]
)
_BY_PATH = frozenset({"os.exec", "os.posix_spawn", "subprocess.Popen"})
_SHELL = "/bin/sh"
_INTERPRETER = "a sub-interpreter"
_NO_LINE = "no start-up line is enabled in this environment"
# Modules/getpath.py: where Python's environment is, follows from argv[0].
_MISNAMED = "its argv[0] is not that Python, which finds another environment by it"
_FOREIGN = "it is no Python of this environment"


def decision_of(
    event: str, arguments: tuple[object, ...], *, has_line: bool
) -> Decision | None:
    """Return what is to be told of `event`; None: nothing.

    `has_line` says that the environment's start-up line installs the guard.
    """
    if event.startswith("ctypes."):
        return _call(arguments)
    if event == "cpython.PyInterpreterState_New":
        runs = "the start-up line runs in it, too" if has_line else _NO_LINE
        return _made(
            "guarded child" if has_line else "unguarded child", _INTERPRETER, runs
        )
    program, words = _program(event, arguments)
    reason = _why_unguarded(program, words) if has_line else _NO_LINE
    if reason is None:
        return _made("guarded child", program, "a Python of this environment")
    return _made("unguarded child", program, reason)


def _call(arguments: tuple[object, ...]) -> Decision | None:
    name = arguments[1] if len(arguments) > 1 else None
    shown = name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)
    if shown not in _CALLS:
        return None
    return _made(
        "unguarded call", shown, "by ctypes, past Python's own sockets", "call"
    )


def _made(word: Word, what: str, reason: str, kind: str = "child") -> Decision:
    return Decision(kind, what, None, None, None, word, None, reason, caller())


def _program(event: str, arguments: tuple[Any, ...]) -> tuple[str, tuple[str, ...]]:
    if event in _BY_PATH:
        words = _words(arguments[1])
        return _found(_text(arguments[0] or (words or ("",))[0])), words
    if event == "os.spawn":
        return _found(_text(arguments[1])), _words(arguments[2])
    if event == "pty.spawn":
        words = _words(arguments[0])
        return _found((words or ("",))[0]), words
    return _SHELL, ()  # os.system


def _words(arguments: object) -> tuple[str, ...]:
    if isinstance(arguments, str | bytes | os.PathLike):
        return (_text(arguments),)
    if isinstance(arguments, Sequence):
        return tuple(map(_text, cast("Sequence[object]", arguments)))
    return ()


def _text(word: Any) -> str:
    if isinstance(word, str | bytes) or hasattr(word, "__fspath__"):
        return os.fsdecode(word)
    return repr(word)[:100]


def _found(program: str) -> str:
    if os.sep in program:
        return program
    return shutil.which(program) or program


# Returns None if the program is a Python that reads this environment's start-up line,
# or a script for one.
def _why_unguarded(program: str, words: tuple[str, ...]) -> str | None:
    if not _is_own(program):
        program, words = _interpreter(program)
        if not _is_own(program):
            return _FOREIGN
    elif words and not _is_own(_found(words[0])):
        return _MISNAMED
    for word in words[1:]:
        if not word.startswith("-") or word.startswith(("-c", "-m")):
            break
        if (
            not word.startswith("--")
            and "S" in word.partition("X")[0].partition("W")[0]
        ):
            return "with -S, Python reads no start-up line"
    return None


def _is_own(program: str) -> bool:
    folder, _, name = program.rpartition(os.sep)
    own = os.path.dirname(sys.executable or "")  # noqa: PTH120 -- pathlib is slow
    return name.startswith("python") and own != "" and os.path.abspath(folder) == own  # noqa: PTH100


# Of a script: what its first line says.
def _interpreter(program: str) -> tuple[str, tuple[str, ...]]:
    try:
        descriptor = os.open(program, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return "", ()
    try:
        line = os.read(descriptor, 256).partition(b"\n")[0]
    except OSError:
        return "", ()
    finally:
        os.close(descriptor)
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    return (words or [""])[0], tuple(words)
