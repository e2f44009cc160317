"""Pass signals on to the command, and notice requests to end the run."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from egressmon.keeping.launch import FORWARDED, Launched
from egressmon.keeping.witness import Witness
from egressmon.startup import dispositions

ENDING = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM))
"""Signals that ask for the end of the run."""
_MAX_ASKER = 200
_SI_KERNEL = 0x80  # si_code of signals from the kernel, such as a terminal's Ctrl-C
# A signal that comes so soon after one that the group got is the same one, by another
# way: timeout(1) signals its child and then the group, and sudo passes on what it gets.
# Equal signals that wait together are one in any case (signal(7)).
_SAME_S = 0.1


def block_forwarded() -> None:
    """Block the signals that are passed on: they wait for `SignalRelay`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)


class EndRequest:
    """A flag, shared by two processes over a pipe: somebody wants the run to end."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set(self, asker: str = "") -> None:
        """Set the flag; `asker` says who wanted it."""
        with suppress(BlockingIOError):
            os.write(self._write, asker.encode() or b" ")

    def asker(self) -> str:
        """Return who wanted it, once it is set; what follows is dropped."""
        return os.read(self._read, _MAX_ASKER).decode(errors="replace").strip()

    def is_set(self) -> bool:
        """Tell whether the flag is set."""
        return self.wait(0)

    def fileno(self) -> int:
        """Return what becomes readable when the flag is set."""
        return self._read

    def wait(self, timeout_ms: int) -> bool:
        """Wait at most `timeout_ms` for the flag; return whether it is set."""
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        return bool(poller.poll(timeout_ms))


class SignalRelay:
    """A thread that receives the blocked signals and passes them on to the command.

    A signal to the whole process group, such as Ctrl-C, is not passed on: the command
    has got it by itself. A signal that asks for an end sets `ending`, and keeps a
    command from being started, unless the caller ignores it.
    """

    def __init__(
        self,
        child: Launched,
        witness: Witness,
        end_all: Callable[[], None] | None = None,
        *,
        only_ending: bool = False,
    ) -> None:
        """With `end_all`, it is called for SIGTERM, which is not passed on then.

        With `only_ending`, what asks for no end is not passed on: nobody there has a
        use for it, and it would end who only waits. SIGHUP then sets `reloading`, but
        for a terminal's.
        """
        self._only_ending = only_ending
        self._end_all = end_all
        self._child = child
        self._pidfd = child.pidfd
        self.witness = witness
        self.ending = EndRequest()
        self.reloading = EndRequest()
        """Somebody wants what can be read again to be: told as a pid and a user id."""
        self.interrupted_by: int | None = None
        """The signal that keeps the command from being started."""
        self.was_asked_to_end = False
        """Whether any signal has asked for that, in the process that gets them."""
        self._may_interrupt = True
        self._lock = threading.Lock()
        self._grouped: dict[int, float] = {}
        """When the group was last seen to have got a signal."""
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin to receive signals."""
        self._thread.start()

    def begin(self) -> bool:
        """Pass on what comes from now on; false if the command must not be started."""
        with self._lock:
            self._may_interrupt = False
            return self.interrupted_by is None

    def forget(self) -> None:
        """Stop passing signals on, as the command has ended."""
        self._pidfd = -1

    def let_go(self) -> None:
        """Leave the witness to another process, which alone receives signals."""
        self.witness.close()

    def _work(self) -> None:
        while True:
            info = signal.sigwaitinfo(FORWARDED)
            if self._only_ending and self._is_for_us(info):
                continue
            asks_for_end = info.si_signo in ENDING - dispositions.ignored()
            if asks_for_end:
                self.was_asked_to_end = True
                self.ending.set(_asker(info))
            with self._lock:
                if asks_for_end and self._may_interrupt:
                    self.interrupted_by = self.interrupted_by or info.si_signo
                    continue
            if self._end_all is not None and info.si_signo == signal.SIGTERM:
                self._end_all()
                continue
            with suppress(ProcessLookupError):
                if self._pidfd >= 0 and not self._has_got(info):
                    signal.pidfd_send_signal(self._pidfd, info.si_signo)

    # Whether it asks for no end.
    def _is_for_us(self, info: signal.struct_siginfo) -> bool:
        if info.si_signo == signal.SIGHUP and info.si_code != _SI_KERNEL:
            self.reloading.set(f"{info.si_pid} {info.si_uid} ")
            return True
        return info.si_signo not in ENDING

    # Whether the command has got the signal by itself, as a member of our group.
    def _has_got(self, info: signal.struct_siginfo) -> bool:
        now = time.monotonic()
        seen = self.witness.seen()
        if seen is None or os.getpgid(self._child.pid) != os.getpgrp():
            return info.si_code == _SI_KERNEL
        self._grouped.update(dict.fromkeys(seen, now))
        return now - self._grouped.get(info.si_signo, -_SAME_S) < _SAME_S


# Nothing that a process could make up: the kernel says who sent a signal (siginfo(7)).
def _asker(info: signal.struct_siginfo) -> str:
    name = signal.Signals(info.si_signo).name
    if info.si_code == _SI_KERNEL:
        return f"{name} of the terminal"
    return f"{name} from process {info.si_pid} of user {info.si_uid}"
