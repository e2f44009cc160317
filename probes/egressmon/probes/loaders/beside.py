"""Work in a thread beside other work.

As concurrent.futures has it; but importing that takes 10 ms of the start.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Beside(Generic[T]):
    """A function's result, to come."""

    def __init__(self, work: Callable[[], T]) -> None:
        """Begin work; a process that ends does not wait for it."""
        self._done: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._done.append(work())
        except BaseException as error:  # noqa: BLE001 -- raised again by result()
            self._error = error

    def result(self) -> T:
        """Wait for the end of the work; return its result, or raise its error."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._done[0]
