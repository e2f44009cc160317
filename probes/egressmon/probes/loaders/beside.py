"""Run a function in a thread while other work goes on.

Like concurrent.futures, whose import would take 10 ms of the start.
"""

import signal
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Beside(Generic[T]):
    """The future result of a function."""

    def __init__(self, work: Callable[[], T]) -> None:
        """Start `work` in a daemon thread: a process that ends does not wait for it."""
        self._done: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._done.append(work())
        except BaseException as error:  # noqa: BLE001 -- raised again by result()
            self._error = error
        # The kernel may run the thread on for a moment after join() has returned, and
        # hand it a signal that the caller blocks by then.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def result(self) -> T:
        """Wait for the function; return its result, or raise its error."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._done[0]
