"""Remember what events of frames meant: most calls come from where others came from."""

from collections.abc import Callable

from egressmon.attribution.python.frames import Walk

_MAX_KEPT = 4096
_MAX_BYTES = 4 << 20


class KnownWalks:
    """The walks of frames events, by all of the event but its time.

    They rest on the code objects that are known, too: once these change, all walks are
    forgotten.
    """

    def __init__(self, version: Callable[[], int]) -> None:
        """`version` returns another number once the known code objects changed."""
        self._version = version
        self._of = -1
        self._walks: dict[bytes, Walk] = {}
        self._bytes = 0

    def get(self, event: bytes) -> Walk | None:
        """Return the walk of `event`, bytes without their time, if it is known."""
        if self._of != self._version():
            self._forget()
        return self._walks.get(event)

    def keep(self, event: bytes, walk: Walk) -> None:
        """Keep the `walk` of `event`, as it is with the code objects of now."""
        too_many = len(self._walks) >= _MAX_KEPT
        if too_many or self._bytes > _MAX_BYTES or self._of != self._version():
            self._forget()
        self._walks[event] = walk
        self._bytes += len(event)

    def _forget(self) -> None:
        self._walks.clear()
        self._bytes = 0
        self._of = self._version()
