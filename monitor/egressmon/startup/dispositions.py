"""Which signals the caller ignores and blocks: the command must start with the same.

CPython itself ignores SIGPIPE and SIGXFSZ from its start on, so that it cannot be seen
any more whether the caller did, too; and Ctrl-C while CPython starts is a traceback and
status 1, so that it is started with SIGINT blocked. The shell that starts it notes what
was there before (`environment.SIGNALS`), as does egressmon's own call of sudo
(`environment.HOP`): two masks as in /proc/PID/status, ignored and blocked. Without a
note, the caller is taken to ignore neither SIGPIPE nor SIGXFSZ.
"""

import os
import signal
from contextlib import suppress
from typing import NoReturn

from egressmon.startup import environment, patience
from egressmon.values import dataclass

_BY_PYTHON = frozenset((signal.SIGPIPE, signal.SIGXFSZ))
_SETTABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class _Callers:
    ignored: frozenset[int]
    blocked: frozenset[int]


_found: list[_Callers] = []
_blocked_for_us: set[int] = set()


def begin() -> None:
    """Note what the caller ignores and blocks, and let Ctrl-C end us with one line.

    Call it first of all. Children can then be waited for even if the caller ignores
    SIGCHLD.
    """
    callers = _callers()
    _blocked_for_us.update(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    _blocked_for_us.difference_update(callers.blocked)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if signal.SIGINT not in callers.ignored:
        signal.signal(signal.SIGINT, _interrupted)
    if signal.SIGINT not in callers.blocked:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def ignored() -> frozenset[int]:
    """Return the numbers of the signals that the caller ignores."""
    return _callers().ignored


def restore() -> None:
    """Ignore and block what the caller does, and nothing else; no handler is left."""
    callers = _callers()
    for number in _SETTABLE:
        wanted = signal.SIG_IGN if number in callers.ignored else signal.SIG_DFL
        with suppress(OSError):
            signal.signal(number, wanted)
    signal.pthread_sigmask(signal.SIG_SETMASK, callers.blocked)


def note() -> str:
    """Return the note for a process that is executed in place of this one."""
    callers = _callers()
    return f"{_mask(callers.ignored):x}:{_mask(callers.blocked):x}"


def env_can_block() -> bool:
    """Tell whether env(1) is known to have --block-signal, as a launcher used it."""
    return signal.SIGINT in _blocked_for_us


def block_interrupt() -> None:
    """Block SIGINT for the Python that is executed next, until its `begin`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


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
    patience.say(f"egressmon: interrupted{more}\n")


def _interrupted(number: int, _: object) -> None:
    say_interrupted()
    end_by(number)


def _callers() -> _Callers:
    if not _found:
        _found.append(_noted() or _seen())
    return _found[0]


def _noted() -> _Callers | None:
    text = _noted_for_sudo() or environment.noted(environment.SIGNALS) or b""
    ignores, _, blocks = text.partition(b":")
    try:
        return _Callers(_numbers(int(ignores, 16)), _numbers(int(blocks, 16)))
    except ValueError:
        return None


def _noted_for_sudo() -> bytes:
    if os.geteuid() != 0:
        return b""
    variables = environment.own_variables()
    return variables.get(environment.HOP.encode(), b"").partition(b":")[2]


def _seen() -> _Callers:
    found = {b"SigIgn:": 0, b"SigBlk:": 0}
    with suppress(OSError), open("/proc/self/status", "rb") as status:  # noqa: PTH123 -- before pathlib is loaded
        for line in status:
            name, _, value = line.partition(b"\t")
            if name in found:
                found[name] = int(value, 16)
    ignores, blocks = map(_numbers, found.values())
    return _Callers(ignores - _BY_PYTHON, blocks)


def _numbers(mask: int) -> frozenset[int]:
    return frozenset(number for number in range(1, 65) if mask >> (number - 1) & 1)


def _mask(numbers: frozenset[int]) -> int:
    return sum(1 << (number - 1) for number in numbers)
