"""Pass the command's signals on, and notice that somebody wants an end."""

import contextlib
import os
import signal
import threading

from egressmon.launch import FORWARDED

_SI_KERNEL = 0x80  # siginfo: sent by the kernel, such as a terminal's Ctrl-C
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def block() -> set[signal.Signals]:
    """Block the command's signals here; returns the mask that held before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    return {signal.Signals(number) for number in before}


class SignalRelay:
    """A thread that takes the blocked signals, one by one.

    A key press reaches the command by itself, as it shares our process group;
    a signal sent to egressmon alone is passed on. `ending` is set by any that
    asks for an end.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.ending = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin to pass signals on."""
        self._thread.start()

    def forget(self) -> None:
        """Pass nothing on any more: the command ended, and its pid is free."""
        self._pid = 0

    def _work(self) -> None:
        while True:
            info = signal.sigwaitinfo(FORWARDED)
            if info.si_signo in _ENDING:
                self.ending.set()
            if info.si_code != _SI_KERNEL and self._pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, info.si_signo)
