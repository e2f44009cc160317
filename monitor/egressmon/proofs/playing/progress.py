"""Say how a proof goes on: a line that changes on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from egressmon.text import printable

_EVERY_S = 0.5
_ERASE = "\r\x1b[K"


class Progress:
    """What is said of the runs on standard error."""

    def __init__(self, runs: int, *, quiet: bool) -> None:
        self._runs = runs
        self._quiet = quiet
        self._is_terminal = not quiet and sys.stderr.isatty()
        self._run = 0
        self._phase = ""
        self._began = time.monotonic()
        self._limit_s = 0.0
        self._events = self._violations = 0
        self._next = 0.0

    def begin_run(self, number: int) -> None:
        """A run begins."""
        self._run, self._events, self._violations = number, 0, 0

    def begin_phase(self, name: str, limit_s: float) -> None:
        """A phase begins, which may take `limit_s`."""
        self._phase, self._limit_s = name, limit_s
        self._began = time.monotonic()
        self._next = 0.0

    def end_phase(self, outcome: str, reason: str | None) -> None:
        """The phase has ended."""
        why = f": {printable(reason)}" if reason else ""
        self._line(
            f"{self._where()}: {outcome} in {self._elapsed():.1f} s{why} "
            f"({self._events} events, {self._violations} violations)"
        )
        self._phase = ""

    def count(self, events: int, violations: int) -> None:
        """The agent has told how much it has seen."""
        self._events, self._violations = events, violations

    def tick(self, ask: Callable[[], None]) -> None:
        """Show on a terminal how it stands, now and then; `ask` asks the agent."""
        now = time.monotonic()
        if not self._is_terminal or not self._phase or now < self._next:
            return
        self._next = now + _EVERY_S
        ask()
        left = max(0.0, self._limit_s - self._elapsed())
        text = (
            f"{self._where()}  {_clock(self._elapsed())}  {self._events} events  "
            f"{self._violations} violations  {_clock(left)} left"
        )
        self._write(f"{_ERASE}{text[: _columns() - 1]}")

    def say(self, text: str) -> None:
        """Say a line of its own."""
        self._line(text)

    def _where(self) -> str:
        return f"run {self._run}/{self._runs}, {self._phase}"

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _line(self, text: str) -> None:
        if not self._quiet:
            self._write(f"{_ERASE if self._is_terminal else ''}egressmon: {text}\n")

    def _write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"
