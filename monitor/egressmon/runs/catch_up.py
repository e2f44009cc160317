"""How long the agent goes on reading after the last process of the scope has ended."""

import time
from collections.abc import Callable
from contextlib import suppress

DEFAULT_S = 5.0
_LOOK_S = 0.1
# Looking costs system calls for each process: it takes a tenth of the time at most.
_REST = 9


class CatchUp:
    """The time for what is still unread when nothing runs any more.

    Without a bound, a command that makes work faster than it is done would decide when
    the run ends.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._deadline: float | None = None
        self._has_ended: Callable[[], bool] | None = None
        self._next_look = 0.0

    def watch(self, has_ended: Callable[[], bool]) -> None:
        """Begin by itself as soon as `has_ended` returns true; `is_over` asks it."""
        self._has_ended = has_ended

    def begin(self) -> None:
        """Let the time run from now on, unless it does already."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._limit_s

    def is_over(self) -> bool:
        """Tell whether the time is over; it is cheap to ask for each event."""
        now = time.monotonic()
        if self._deadline is None and now >= self._next_look:
            self._look(now)
        return self._deadline is not None and now >= self._deadline

    def left_s(self) -> float:
        """Return how much time is left; all of it if it does not run yet."""
        if self._deadline is None:
            return self._limit_s
        return max(0.0, self._deadline - time.monotonic())

    def _look(self, now: float) -> None:
        with suppress(OSError):  # who cannot be asked now is asked again
            if self._has_ended is not None and self._has_ended():
                self.begin()
        done = time.monotonic()
        self._next_look = done + _LOOK_S + _REST * (done - now)
