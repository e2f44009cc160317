"""The names that this process looked up, by the addresses that it was told."""

from __future__ import annotations  # nothing is imported for them

import _thread
import time

HOLDS_S = 3600.0
"""How long a name holds after it was looked up last. getaddrinfo(3) tells no TTL."""
_MAX_ADDRESSES = 4096
_MAX_NAMES = 64  # of one address


class Known:
    """Names by address. Of the process, not of a thread: pools look names up."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, float]] = {}
        self._lock = _thread.RLock()
        self.version = 0
        """Changes as a name is learned that was not known of its address."""

    def learn(self, name: str, address: str) -> None:
        """Note that this process was told that `name` leads to `address`."""
        with self._lock:
            names = self._names.pop(address, {})
            self._names[address] = names  # now the newest
            if name not in names:
                self.version += 1
            names.pop(name, None)
            names[name] = time.monotonic()
            if len(names) > _MAX_NAMES:
                del names[next(iter(names))]
            if len(self._names) > _MAX_ADDRESSES:
                del self._names[next(iter(self._names))]

    def of(self, address: str) -> tuple[str, ...]:
        """Return the names of `address` that hold, the last one asked for first."""
        with self._lock:
            names = list(self._names.get(address, {}).items())
        since = time.monotonic() - HOLDS_S
        return tuple(name for name, at in reversed(names) if at >= since)

    def renew_lock(self) -> None:
        """Make a lock for a child by fork."""
        self._lock = _thread.RLock()
