"""The signals that the caller ignores: the command must ignore the same ones.

CPython itself ignores SIGPIPE and SIGXFSZ from its start on, so that it cannot be seen
any more whether the caller did, too. The shell that starts Python notes it in `NOTE`,
and egressmon's own call of sudo in `caller.HOP`. Without a note the caller is taken to
ignore neither.
"""

import os
import signal
from contextlib import suppress
from typing import NoReturn

from egressmon.startup import environment

NOTE = environment.IGNORED
_BY_PYTHON = frozenset((signal.SIGPIPE, signal.SIGXFSZ))
_SETTABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
_found: list[frozenset[int]] = []


def begin() -> None:
    """Note what the caller ignores, and let Ctrl-C end this process without a traceback.

    Call it first of all. Children can then be waited for even if the caller ignores
    SIGCHLD.
    """
    _found[:] = [_from_caller()]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if signal.SIGINT not in _found[0]:
        signal.signal(signal.SIGINT, _interrupted)


def ignored() -> frozenset[int]:
    """Return the numbers of the signals that the caller ignores."""
    if not _found:
        _found.append(_from_caller())
    return _found[0]


def as_mask() -> str:
    """Return `ignored()` as /proc/PID/status gives it, for a note."""
    return f"{sum(1 << (number - 1) for number in ignored()):x}"


def restore() -> None:
    """Ignore what the caller ignores, and nothing else; no signal has a handler then."""
    for number in _SETTABLE:
        wanted = signal.SIG_IGN if number in ignored() else signal.SIG_DFL
        with suppress(OSError):
            signal.signal(number, wanted)


def end_by(number: int) -> NoReturn:
    """End this process by the signal `number`, as if it had no handler for it."""
    import resource  # noqa: PLC0415 -- not before its file is known to belong to root

    with suppress(OSError, ValueError):  # SIGQUIT would leave a core file
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    signal.raise_signal(number)
    os._exit(128 + number)


def say_interrupted(more: str = "") -> None:
    """Print the one line that an interrupted run leaves; `more` is its end."""
    with suppress(OSError):
        os.write(2, f"egressmon: interrupted{more}\n".encode())


def _interrupted(number: int, _: object) -> None:
    say_interrupted()
    end_by(number)


def _from_caller() -> frozenset[int]:
    variables = environment.own_variables()
    noted = variables.get(NOTE.encode())
    hop = variables.get(environment.HOP.encode(), b"").split(b":")
    if len(hop) > 1:
        noted = hop[1]
    try:
        return _numbers(int(noted, 16)) if noted is not None else _from_kernel()
    except ValueError:
        return _from_kernel()


def _from_kernel() -> frozenset[int]:
    with suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:  # noqa: PTH123 -- before pathlib is loaded
        for line in status:
            if line.startswith(b"SigIgn:"):
                return _numbers(int(line.split()[1], 16)) - _BY_PYTHON
    return frozenset()


def _numbers(mask: int) -> frozenset[int]:
    return frozenset(number for number in range(1, 65) if mask >> (number - 1) & 1)
