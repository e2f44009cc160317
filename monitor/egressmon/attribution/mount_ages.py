"""When the first program began in each mount namespace: what is younger is its work."""

_MAX_NAMESPACES = 4096


class MountAges:
    """The mount namespaces that were met; bounded, and nothing is said beyond that."""

    def __init__(self) -> None:
        self._since: dict[int, int] = {}
        self._is_full = False

    def note(self, mounts: int, ktime_ns: int) -> None:
        """Note that a program began in the namespace `mounts` at that kernel time.

        A namespace that has the number of one that is gone is taken for older.
        """
        if not mounts:
            return
        known = self._since.get(mounts)
        if known is None and len(self._since) >= _MAX_NAMESPACES:
            self._is_full = True
        elif known is None or ktime_ns < known:
            self._since[mounts] = ktime_ns

    def since_ns(self, mounts: int) -> int | None:
        """Return when the first program began there, in kernel time; None: unknown."""
        return None if self._is_full else self._since.get(mounts)
