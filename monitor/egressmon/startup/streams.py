"""The standard streams: always there, never a reason for another exit status."""

import errno
import os
import sys
from contextlib import suppress
from typing import NoReturn

_STANDARD = range(3)
_missing: list[int] = []


def open_missing() -> None:
    """Open /dev/null for each standard descriptor that the caller closed.

    Call it first: what is opened before takes the number, and gets what is printed.
    """
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # the lowest number that is free: open(2)
            os.set_inheritable(number, True)
            _missing.append(number)
            _replace(number)


def own_output() -> int:
    """Return a descriptor of standard output; raises OSError where it was closed."""
    if 1 in _missing:
        raise OSError(errno.EBADF, "standard output is closed")
    return os.dup(1)


def close_at_exec() -> None:
    """Have the next program find closed what the caller closed."""
    for number in _missing:
        os.set_inheritable(number, False)


def leave(status: int) -> NoReturn:
    """End this process with `status`, whatever becomes of what was printed.

    CPython's own end makes 120 of any status where standard output or error cannot be
    flushed (Py_FinalizeEx): the status is a verdict, and this is none.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


# CPython has None where the descriptor was closed as it started.
def _replace(number: int) -> None:
    name = ("stdin", "stdout", "stderr")[number]
    mode = "w" if number else "r"
    setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 -- a descriptor, for good
