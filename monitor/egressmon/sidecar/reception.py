"""Take connections from the listening socket: few at a time, whoever makes them."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from egressmon.sidecar.answers import refusal
from egressmon.sidecar.callers import credentials_of
from egressmon.sidecar.connections import Connection
from egressmon.sidecar.rates import Rate

MAX_CONNECTIONS = 16
REQUEST_S = 1.0
_AT_ONCE = 16
_EACH_S, _BURST = 1000, 128
_PAUSE_S = 0.5  # without descriptors, before the next connection is taken


class Reception:
    """The connections that are served: at most 16, and 1,000 new ones a second.

    When there are more, whoever has most of them loses the slowest: so one user's idle
    connections do not keep out another's.
    """

    def __init__(self, listener: socket.socket, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock, in seconds."""
        listener.setblocking(False)
        self._listener = listener
        self._now = now
        self._rate = Rate(_EACH_S, _BURST)
        self._paused_until = 0.0
        self.served: list[Connection] = []
        """The oldest first."""

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._listener.fileno()

    def wait_s(self) -> float:
        """Return the seconds until a connection may be taken; 0: now."""
        now = self._now()
        return max(0.0, self._paused_until - now, self._rate.wait_s(now))

    def accept(self) -> Iterator[Connection]:
        """Yield new connections that are there already, at most 16."""
        for _ in range(_AT_ONCE):
            if self.wait_s() > 0:
                return
            now = self._now()
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor is left
                if not self.served:
                    self._paused_until = now + _PAUSE_S
                    return
                self._make_room()
                continue
            self._rate.take(now)
            try:
                _, uid = credentials_of(connection)
            except OSError:
                connection.close()
                continue
            if len(self.served) >= MAX_CONNECTIONS:
                self._make_room()
            one = Connection(connection, uid, now + REQUEST_S)
            self.served.append(one)
            yield one

    def drop(self, one: Connection) -> None:
        """Close `one`, and serve it no longer."""
        self.let_go(one)
        one.close()

    def let_go(self, one: Connection) -> None:
        """Serve `one` no longer, but leave it open."""
        with suppress(ValueError):
            self.served.remove(one)

    def close(self) -> None:
        """Close the listening socket and all connections."""
        self._listener.close()
        for one in [*self.served]:
            self.drop(one)

    def _make_room(self) -> None:
        counts = Counter(one.uid for one in self.served)
        # Not Counter.most_common: that imports, which takes a descriptor.
        slowest = max(self.served, key=lambda one: counts[one.uid])
        if slowest.is_reading:
            why = "too many are connected: ask again"
            slowest.answer(refusal(why, is_busy=True), 0)
        self.drop(slowest)
