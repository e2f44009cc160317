"""Pass the command's signals on, and notice that somebody wants an end."""

import contextlib
import os
import select
import signal
import threading

from egressmon.keeping.launch import FORWARDED

_SI_KERNEL = 0x80  # siginfo: sent by the kernel, such as a terminal's Ctrl-C
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def block() -> set[signal.Signals]:
    """Block the command's signals here; returns the mask that held before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    return {signal.Signals(number) for number in before}


class EndWanted:
    """That somebody wants an end: said in one process, noticed in another."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set(self) -> None:
        """Say so."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"e")

    def is_set(self) -> bool:
        """Tell whether it was said."""
        return self.wait(0)

    def wait(self, timeout_ms: int) -> bool:
        """Return as it is said, or as the time is over: whether it was."""
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        return bool(poller.poll(timeout_ms))


class SignalRelay:
    """A thread that takes the blocked signals, one by one.

    A key press reaches the command by itself, as it shares our process group;
    a signal sent to egressmon alone is passed on. `ending` is set by any that
    asks for an end.
    """

    def __init__(self, pidfd: int) -> None:
        """The command is the process of `pidfd`."""
        self._pidfd = pidfd
        self.ending = EndWanted()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin to pass signals on."""
        self._thread.start()

    def forget(self) -> None:
        """Pass nothing on any more: the command ended."""
        self._pidfd = -1

    def _work(self) -> None:
        while True:
            info = signal.sigwaitinfo(FORWARDED)
            if info.si_signo in _ENDING:
                self.ending.set()
            if info.si_code != _SI_KERNEL and self._pidfd >= 0:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, info.si_signo)
