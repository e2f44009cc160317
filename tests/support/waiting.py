"""Wait until something is so that nothing tells of."""

import time
from collections.abc import Callable

PATIENCE_S = 120
_TURN_S = 0.05


def until(is_so: Callable[[], bool], say: Callable[[], object] = lambda: "") -> None:
    """Return once `is_so` is true. Fails with what `say` returns if it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, say()
        time.sleep(_TURN_S)
