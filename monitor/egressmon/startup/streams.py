"""Make sure that the standard streams exist, and never change the exit status."""

import errno
import os
import sys
from contextlib import suppress
from typing import NoReturn

_STANDARD = range(3)
_missing: list[int] = []
"""The standard descriptors that the caller had closed."""


def open_missing() -> None:
    """Open /dev/null for each standard descriptor that the caller closed.

    Call it before any file is opened: that file would get the free number, and with it
    what is printed.
    """
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # gets the lowest free number: open(2)
            os.set_inheritable(number, True)
            _missing.append(number)
            _replace(number)


def own_output() -> int:
    """Return a duplicate of standard output; raises OSError if the caller closed it."""
    if 1 in _missing:
        raise OSError(errno.EBADF, "standard output is closed")
    return os.dup(1)


def close_at_exec() -> None:
    """Let the next program that is executed have the same descriptors closed."""
    for number in _missing:
        os.set_inheritable(number, False)


def flush_and_exit(status: int) -> NoReturn:
    """Flush the output and end this process with `status`, even if flushing fails.

    CPython itself would end with 120 then (Py_FinalizeEx), which here means violations.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


# sys.stdin and its like are None if the descriptor was closed when CPython started.
def _replace(number: int) -> None:
    name = ("stdin", "stdout", "stderr")[number]
    mode = "w" if number else "r"
    setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 -- a descriptor, for good
