"""Which phase of a scenario it was at a moment, by the kernel's clock.

Events are read later than they happen, so a record's phase is that of its own time.
"""

from bisect import bisect_right


class Phases:
    """The marks so far. A phase lasts from its beginning to its end, both included."""

    def __init__(self) -> None:
        self._since: list[int] = []
        self._names: list[str | None] = []

    def begin(self, name: str, ktime_ns: int) -> None:
        """Note that `name` began at `ktime_ns`; marks come in the order of time."""
        self._mark(name, ktime_ns)

    def end(self, ktime_ns: int) -> None:
        """Note that the phase ended at `ktime_ns`."""
        self._mark(None, ktime_ns + 1)

    def at(self, ktime_ns: int) -> str | None:
        """Return the name of the phase at `ktime_ns`; None: it was in none."""
        if not self._since:
            return None
        place = bisect_right(self._since, ktime_ns)
        return self._names[place - 1] if place else None

    def _mark(self, name: str | None, ktime_ns: int) -> None:
        if self._since and ktime_ns < self._since[-1]:
            raise ValueError(f"a mark before the last one: {ktime_ns}")
        self._since.append(ktime_ns)
        self._names.append(name)
