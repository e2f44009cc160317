"""A process of a scenario, and the signals that ask for an end."""

import signal
import socket
import time
from contextlib import suppress

from egressmon.proofs.written.logs import Log
from egressmon.values import dataclass, field

# A terminal's Ctrl-C comes to the whole group: to us, and by way of the starter.
_SAME_S = 0.5


@dataclass(slots=True)
class Managed:
    """A process that the launcher started, or was asked to."""

    name: str
    is_lasting: bool
    """Whether its end is a failure while phases go on."""
    log: Log = field(default_factory=Log)
    pid: int | None = None
    errno: int | None = None
    """Why it could not be started."""
    status: int | None = None
    """With which it ended; a signal's number is negative."""

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.pid is not None and self.status is None

    @property
    def is_settled(self) -> bool:
        """Whether it is known that it was started, or was not."""
        return self.pid is not None or self.errno is not None

    def how_it_ended(self) -> str:
        """Say how it ended."""
        status = self.status or 0
        return f"exit status {status}" if status >= 0 else f"signal {-status}"


class Interrupts:
    """The signals that asked for an end, from a terminal or by way of the starter."""

    def __init__(self) -> None:
        self.count = 0
        self._last = float("-inf")
        read, write = socket.socketpair()
        write.setblocking(False)
        read.setblocking(False)
        self._read, self._write = read, write
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _nothing)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._read.fileno()

    def take(self) -> None:
        """Count those that came."""
        with suppress(BlockingIOError):
            while self._read.recv(64):
                self.note()

    def note(self) -> None:
        """Count one, unless it is the last one again, by another way."""
        now = time.monotonic()
        if now - self._last >= _SAME_S:
            self.count += 1
        self._last = now


def _nothing(*_: object) -> None:
    pass
