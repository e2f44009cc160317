"""Pass signals on to the command, and notice requests to end the run."""

import contextlib
import os
import select
import signal
import threading

from egressmon.keeping.launch import FORWARDED

_SI_KERNEL = 0x80  # si_code of signals from the kernel, such as a terminal's Ctrl-C
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def block_forwarded() -> set[signal.Signals]:
    """Block the signals that are passed on, and return the signal mask from before.

    Blocked signals wait for the thread of `SignalRelay`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    return {signal.Signals(number) for number in before}


class EndRequest:
    """A flag, shared by two processes over a pipe: somebody wants the run to end."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set(self) -> None:
        """Set the flag."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"e")

    def is_set(self) -> bool:
        """Tell whether the flag is set."""
        return self.wait(0)

    def wait(self, timeout_ms: int) -> bool:
        """Wait at most `timeout_ms` for the flag; return whether it is set."""
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        return bool(poller.poll(timeout_ms))


class SignalRelay:
    """A thread that receives the blocked signals and passes them on to the command.

    A signal from a key press is not passed on: the terminal sends it to the command as
    well, which is in our process group. A signal that asks for an end sets `ending`.
    """

    def __init__(self, pidfd: int) -> None:
        """`pidfd` refers to the command's process."""
        self._pidfd = pidfd
        self.ending = EndRequest()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin to pass signals on."""
        self._thread.start()

    def forget(self) -> None:
        """Stop passing signals on, as the command has ended."""
        self._pidfd = -1

    def _work(self) -> None:
        while True:
            info = signal.sigwaitinfo(FORWARDED)
            if info.si_signo in _ENDING:
                self.ending.set()
            if info.si_code != _SI_KERNEL and self._pidfd >= 0:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, info.si_signo)
